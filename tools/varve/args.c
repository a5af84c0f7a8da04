#include "args.h"

#include <stdio.h>
#include <string.h>

static void print_help(const struct command_spec *spec)
{
    printf("usage: varve %s [OPTION...] %s\n\n%s\noptions:\n", spec->name, spec->operands,
           spec->text);
    for (size_t i = 0; i < spec->option_count; i++) {
        const struct arg_option *option = &spec->options[i];
        char name[64];
        snprintf(name, sizeof(name), "%s%s%s", option->name, option->value == NULL ? "" : " ",
                 option->value == NULL ? "" : option->value);
        printf("  %-18s %s\n", name, option->help);
    }
    printf("  %-18s %s\n\nexamples:\n%s", "--help", "this text", spec->examples);
    printf("\nexit code: 0 all is well, 1 findings, 2 wrong usage, 3 it could not be done\n");
}

static int complain(const struct command_spec *spec, const char *what, const char *arg)
{
    fprintf(stderr, "varve %s: %s%s\nusage: varve %s [OPTION...] %s   (varve %s --help)\n",
            spec->name, what, arg, spec->name, spec->operands, spec->name);
    return TOOL_USAGE;
}

static const struct arg_option *find_option(const struct command_spec *spec, const char *name,
                                            size_t len)
{
    for (size_t i = 0; i < spec->option_count; i++)
        if (strlen(spec->options[i].name) == len && memcmp(spec->options[i].name, name, len) == 0)
            return &spec->options[i];
    return NULL;
}

/* The option argv[*at], "--name", "--name value" or "--name=value"; -1: it was taken. */
static int take_option(const struct command_spec *spec, int argc, char **argv, int *at)
{
    const char *arg = argv[*at];
    const char *equals = strchr(arg, '=');
    size_t len = equals == NULL ? strlen(arg) : (size_t)(equals - arg);
    const struct arg_option *option = find_option(spec, arg, len);

    if (option == NULL)
        return complain(spec, "there is no option ", arg);
    if (option->value == NULL && equals != NULL)
        return complain(spec, "it takes no value: ", arg);
    if (option->value == NULL) {
        *option->flag = 1;
    } else if (equals != NULL) {
        *option->text = equals + 1;
    } else if (*at + 1 < argc) {
        *option->text = argv[++*at];
    } else {
        return complain(spec, "a value is missing behind ", arg);
    }
    return -1;
}

int args_parse(const struct command_spec *spec, int argc, char **argv,
               const char *operands[ARGS_OPERANDS_MAX])
{
    size_t count = 0;
    int no_more_options = 0;

    CHECK(spec->operand_count + spec->operand_more <= ARGS_OPERANDS_MAX);
    for (int i = 1; i < argc; i++) {
        const char *arg = argv[i];
        int is_option = !no_more_options && arg[0] == '-' && arg[1] != '\0';
        if (is_option && (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0)) {
            print_help(spec);
            return TOOL_OK;
        }
        if (is_option && strcmp(arg, "--") == 0) {
            no_more_options = 1;
        } else if (is_option) {
            int code = take_option(spec, argc, argv, &i);
            if (code != -1)
                return code;
        } else if (count == spec->operand_count + spec->operand_more) {
            return complain(spec, "too many arguments: ", arg);
        } else {
            operands[count++] = arg;
        }
    }
    if (count < spec->operand_count)
        return complain(spec, "missing: ", spec->operands);
    return -1;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int args_unescape(char *text, size_t *len)
{
    size_t to = 0;

    for (size_t from = 0; text[from] != '\0'; to++) {
        if (text[from] != '\\') {
            text[to] = text[from++];
        } else if (text[from + 1] == '\\') {
            text[to] = '\\';
            from += 2;
        } else {
            if (text[from + 1] != 'x' || hex_digit(text[from + 2]) < 0 ||
                hex_digit(text[from + 3]) < 0)
                return -1;
            text[to] = (char)(hex_digit(text[from + 2]) << 4 | hex_digit(text[from + 3]));
            from += 4;
        }
    }
    *len = to;
    return 0;
}
