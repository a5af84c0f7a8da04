/* Recursive descent; the depth is that of the table's texts. */
#include "cmd/arguments.h"

#include <string.h>

#include "base/check.h"

struct parser {
    const char *at;
    struct arguments *out;
};

static int parse_list(struct parser *p, char separator, char end, int *first, int *count);

static struct varve_slice take_word(struct parser *p)
{
    size_t len = strcspn(p->at, " :=<>()[]|@.#");
    struct varve_slice word = varve_slice(p->at, len);

    p->at += len;
    return word;
}

/* A version has dots; "..." ends it. */
static struct varve_slice take_version(struct parser *p)
{
    size_t len = strspn(p->at, "0123456789.");
    const char *dots = strstr(p->at, "...");

    if (dots != NULL && dots < p->at + len)
        len = (size_t)(dots - p->at);
    struct varve_slice version = varve_slice(p->at, len);
    p->at += len;
    return version;
}

static int is_token(struct varve_slice word)
{
    return word.len > 0 && word.data[0] >= 'A' && word.data[0] <= 'Z';
}

/* What follows the name: a type, or what is inside. */
static int parse_shape(struct parser *p, struct argument *arg)
{
    switch (*p->at) {
    case ':':
        p->at++;
        arg->type = take_word(p);
        if (*p->at == ':') { /* a name that has one: "ip:port" */
            arg->name.len = (size_t)((const uint8_t *)p->at - arg->name.data);
            return parse_shape(p, arg);
        }
        if (*p->at == '#' && p->at[1] >= '0' && p->at[1] <= '9') {
            arg->key_spec = p->at[1] - '0';
            p->at += 2;
        }
        return arg->type.len > 0 ? 0 : -1;
    case '<':
        p->at++;
        arg->type = varve_slice_str("oneof");
        return parse_list(p, '|', '>', &arg->first_child, &arg->child_count);
    case '(':
        p->at++;
        arg->type = varve_slice_str("block");
        return parse_list(p, ' ', ')', &arg->first_child, &arg->child_count);
    default:
        arg->type = varve_slice_str("pure-token");
        arg->token = arg->name;
        return is_token(arg->name) ? 0 : -1;
    }
}

static int parse_argument(struct parser *p, int *index)
{
    struct argument arg = {.first_child = -1, .next = -1};
    int optional = *p->at == '[';

    if (p->out->used == ARGUMENTS_MAX)
        return -1;
    *index = p->out->used++;
    p->at += optional;
    arg.name = take_word(p);
    if (*p->at == '=' && is_token(arg.name)) {
        arg.token = arg.name;
        p->at++;
        arg.name = take_word(p);
    }
    if (arg.name.len == 0 || parse_shape(p, &arg) != 0)
        return -1;
    if (*p->at == '@') {
        p->at++;
        arg.since = take_version(p);
    }
    if (strncmp(p->at, "...", 3) == 0) {
        p->at += 3;
        arg.flags |= ARGUMENT_MULTIPLE;
        if (*p->at == '+') {
            p->at++;
            arg.flags |= ARGUMENT_MULTIPLE_TOKEN;
        }
    }
    if (optional) {
        if (*p->at++ != ']')
            return -1;
        arg.flags |= ARGUMENT_OPTIONAL;
    }
    p->out->all[*index] = arg;
    return 0;
}

/* Arguments up to `end`, which is taken too unless it is the text's end. */
static int parse_list(struct parser *p, char separator, char end, int *first, int *count)
{
    int last = -1;

    *first = -1;
    *count = 0;
    for (;;) {
        int index;
        if (parse_argument(p, &index) != 0)
            return -1;
        if (last == -1)
            *first = index;
        else
            p->out->all[last].next = index;
        last = index;
        (*count)++;
        if (*p->at == end)
            break;
        if (*p->at++ != separator)
            return -1;
    }
    p->at += end != '\0';
    return 0;
}

int arguments_parse(const char *text, struct arguments *arguments)
{
    struct parser p = {.at = text, .out = arguments};
    int first;

    arguments->used = 0;
    arguments->count = 0;
    if (*text == '\0')
        return 0;
    return parse_list(&p, ' ', '\0', &first, &arguments->count);
}
