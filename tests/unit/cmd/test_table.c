#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/arguments.h"
#include "cmd/table.h"

static int setup(void **state)
{
    (void)state;
    command_table_init();
    return 0;
}

static void test_every_row__is_found_by_its_name(void **state)
{
    (void)state;
    for (int i = 0; i < command_count(); i++) {
        const struct command *row = command_at(i);
        char upper[64];
        size_t len = strlen(row->name);
        for (size_t c = 0; c <= len; c++)
            upper[c] = (char)(row->name[c] >= 'a' && row->name[c] <= 'z' ? row->name[c] - 32
                                                                         : row->name[c]);
        assert_ptr_equal(command_find(row->parent, varve_slice_str(row->name)), row);
        assert_ptr_equal(command_find(row->parent, varve_slice_str(upper)), row);
        assert_null(command_find(row->parent, varve_slice(row->name, len - 1)));
        if (row->parent != NULL)
            assert_null(command_find(row, varve_slice_str(row->name)));
    }
}

static void test_other_names__are_not_found(void **state)
{
    static const char *const names[] = {"",     "g",   "gets",      "get ",  "ge\x14",
                                        "get|", "GE4", "client|id", "g\xc5t"};

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_null(command_find(NULL, varve_slice_str(names[i])));
    assert_null(command_find(NULL, varve_slice("get\0", 4)));
}

static void test_every_row__has_columns_that_decode(void **state)
{
    struct arguments arguments;
    struct command_keys keys;

    (void)state;
    for (int i = 0; i < command_count(); i++) {
        const struct command *row = command_at(i);
        assert_int_equal(arguments_parse(row->arguments, &arguments), 0);
        command_get_keys(row, &keys);
        assert_true(keys.first == 0 || (keys.first > 0 && keys.step > 0 && keys.flags[0] != '\0'));
        assert_true(row->arity != 0 && row->summary[0] != '\0' && row->since[0] != '\0');
        assert_true(row->run != NULL || row->child_count > 0);
        assert_int_equal((row->flags & CMD_WRITE) && (row->flags & CMD_READONLY), 0);
        /* A turn of data commands is one group, but for walks, which see what is committed. */
        if ((row->flags & CMD_WRITE) || keys.first > 0)
            assert_false(row->flags & CMD_BARRIER);
    }
}

static struct argument *child(struct arguments *arguments, int index)
{
    assert_true(index >= 0 && index < arguments->used);
    return &arguments->all[index];
}

static void assert_text(struct varve_slice slice, const char *text)
{
    assert_int_equal(slice.len, strlen(text));
    assert_memory_equal(slice.data, text, slice.len);
}

static void test_arguments__nest(void **state)
{
    struct arguments a;

    (void)state;
    assert_int_equal(arguments_parse("key:key [WHEN=when<EX=s:integer@2.6.12|KEEP>@1.0.0...] "
                                     "pair(a:string b:string)...+",
                                     &a),
                     0);
    assert_int_equal(a.count, 3);
    struct argument *at = child(&a, 0);
    assert_text(at->name, "key");
    assert_text(at->type, "key");
    assert_int_equal(at->flags, 0);
    at = child(&a, at->next);
    assert_text(at->name, "when");
    assert_text(at->type, "oneof");
    assert_text(at->token, "WHEN");
    assert_text(at->since, "1.0.0");
    assert_int_equal(at->flags, ARGUMENT_OPTIONAL | ARGUMENT_MULTIPLE);
    assert_int_equal(at->child_count, 2);
    struct argument *choice = child(&a, at->first_child);
    assert_text(choice->token, "EX");
    assert_text(choice->type, "integer");
    assert_text(choice->since, "2.6.12");
    choice = child(&a, choice->next);
    assert_text(choice->type, "pure-token");
    assert_text(choice->token, "KEEP");
    assert_int_equal(choice->next, -1);
    at = child(&a, at->next);
    assert_text(at->type, "block");
    assert_int_equal(at->flags, ARGUMENT_MULTIPLE | ARGUMENT_MULTIPLE_TOKEN);
    assert_int_equal(at->next, -1);
}

static void test_arguments__that_are_wrong_are_refused(void **state)
{
    static const char *const bad[] = {
        "key",  "key:", "[key:key", "a:b]",       "a<b:c", "a(b:c", "a:b  c:d", "a:b ",
        "=a:b", "NX=",  "a<>",      "a(b:c|d:e)", "[]",    "a:b..", "a:b...-",  "@1"};
    struct arguments arguments;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(arguments_parse(bad[i], &arguments), -1);
}

static void test_arguments__that_are_too_many_are_refused(void **state)
{
    char text[ARGUMENTS_MAX * 4 + 8] = "a:b";
    struct arguments arguments;

    (void)state;
    for (int i = 1; i < ARGUMENTS_MAX; i++)
        strcat(text, " a:b");
    assert_int_equal(arguments_parse(text, &arguments), 0);
    strcat(text, " a:b");
    assert_int_equal(arguments_parse(text, &arguments), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_row__is_found_by_its_name),
        cmocka_unit_test(test_other_names__are_not_found),
        cmocka_unit_test(test_every_row__has_columns_that_decode),
        cmocka_unit_test(test_arguments__nest),
        cmocka_unit_test(test_arguments__that_are_wrong_are_refused),
        cmocka_unit_test(test_arguments__that_are_too_many_are_refused),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
