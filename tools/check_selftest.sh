#!/usr/bin/env bash
# check_selftest.sh - does tools/check see what it is for? In a copy of the tree, that passes, one
# violation after the other is planted, and the check must fail and name the planted place.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

passed=0
failed=0
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT

copy_tree() {
    (
        cd "$root"
        "$python" -c '
import sys
sys.path.insert(0, "tools")
import source
print("\0".join(source.list_files()), end="\0")
' | tar --null --files-from=- -cf - | tar -xf - -C "$copy"
    )
}

count() {
    if [[ $1 == ok ]]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'FAILED  %s\n' "$2"
    fi
}

# sees WHAT CHECK FILE EXPECTED: what stands on standard input is added to FILE; then CHECK must
# fail, and what it prints must match EXPECTED.
sees() {
    local what=$1 check=$2 file=$copy/$3 expected=$4 said result=ok
    mkdir -p "$(dirname "$file")"
    if [[ -e $file ]]; then
        cp "$file" "$copy.saved"
    fi
    cat >>"$file"
    if said=$("$copy/tools/check" "$check" 2>&1) || ! grep -qE "$expected" <<<"$said"; then
        printf '%s\n' "$said"
        result=missed
    fi
    if [[ -e $copy.saved ]]; then
        mv "$copy.saved" "$file"
    else
        rm -f "$file"
    fi
    count "$result" "$check does not see $what"
}

# compiler_sees NAME: a warning in base stops that compiler's build.
compiler_sees() {
    local said result=ok
    cp "$copy/src/base/arena.c" "$copy.saved"
    printf '\nint arena_planted(long value);\nint arena_planted(long value)\n{\n    return value;\n}\n' \
        >>"$copy/src/base/arena.c"
    if said=$("$copy/tools/build" "check-$1" src/base/libbase.a 2>&1) ||
        ! grep -q 'arena.c.*onversion\|onversion.*arena.c' <<<"$said"; then
        printf '%s\n' "$said"
        result=missed
    fi
    mv "$copy.saved" "$copy/src/base/arena.c"
    count "$result" "$1 does not see a narrowing conversion"
}

repeat() {
    local text=$1 times=$2 i
    for ((i = 0; i < times; i++)); do
        printf '%s\n' "$text"
    done
}

copy_tree
for check in names text layers sizes format scripts; do
    if said=$("$copy/tools/check" "$check" 2>&1); then
        count ok ''
    else
        printf '%s\n' "$said"
        count missed "$check does not pass on the tree as it is"
    fi
done

sees 'a stray top-level file' names notes.txt '^notes.txt:' <<<'x'
sees 'a machine path' text src/planted.txt '^src/planted.txt:1: a path' <<<"see /ho""me/someone/x"
sees 'undone work' text src/base/arena.c '^src/base/arena.c:[0-9]+: work' <<<"/* TO""DO: later */"
sees 'blanks at a line end' text tests/planted.md '^tests/planted.md:1: blanks' <<<'text '
sees 'an upward include' layers src/base/arena.c \
    '^src/base/arena.c:[0-9]+: base may not include lsm' <<<'#include "lsm/chunk.h"'
sees 'a layer that knows the engine' layers src/cmd/planted.c \
    '^src/cmd/planted.c:1: cmd may not include lsm' <<<'#include "lsm/memtable.h"'
sees 'an include of server/' layers src/net/planted.c \
    '^src/net/planted.c:1: includes server/' <<<'#include "server/main.h"'
sees 'an include without a folder' layers src/lsm/planted.c \
    '^src/lsm/planted.c:1: "chunk.h" does not name' <<<'#include "chunk.h"'
sees 'uv.h outside its layers' layers src/lsm/planted.c '^src/lsm/planted.c:1: <uv.h>' \
    <<<'#include <uv.h>'
sees 'an unlisted library' layers src/types/planted.c '^src/types/planted.c:1: <glib.h>' \
    <<<'#include <glib.h>'
sees 'a folder without a layer' layers src/misc/planted.c '^src/misc/planted.c: lies' <<<'int x;'
sees 'the allocator called directly' layers src/lsm/planted.c \
    '^src/lsm/planted.c:1: malloc\(\)' <<<'char *x = malloc(1);'
sees 'a long file' sizes src/lsm/planted.c '^src/lsm/planted.c: 801 lines' < <(repeat '' 801)
sees 'a long function' sizes src/lsm/planted.c '^src/lsm/planted.c:1: planted\(\) has 71 lines' \
    < <(
        printf 'int planted(void)\n{\n'
        repeat '    work();' 68
        printf '}\n'
    )
sees 'deep nesting' sizes src/lsm/planted.c '^src/lsm/planted.c:6: planted\(\) is 4 blocks' <<'C'
void planted(int x)
{
    for (;;) { /* { */
        while (x)
            if (x) {
                if (x == '{') {
                    work("}");
                }
            } else if (x == 2) {
                work("{");
            }
    }
}
C
sees 'bad format' format src/base/arena.c 'src/base/arena.c:.*clang-format' <<<'int  planted ;'
sees 'a script that does not parse' scripts tools/planted.sh 'planted.sh' <<<'if true; then'
compiler_sees gcc
compiler_sees clang

printf '%d passed, %d failed\n' "$passed" "$failed"
[[ $failed -eq 0 ]]
