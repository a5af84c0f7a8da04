#!/bin/sh
# archive.sh - one object of all of the library's, in which only what the headers declare can be seen from
# outside, and an archive of it. In an archive of the objects as they are, names like mem_alloc would
# meet those of the program that links it: hidden means nothing between the objects of one program.
#
# usage: archive.sh OUT.a AR OBJCOPY COMPILER... -- ARCHIVE...
set -eu

out=$1 ar=$2 objcopy=$3
shift 3
object=${out%.a}.o
compiler=
while [ "$1" != -- ]; do
    compiler="$compiler $1"
    shift
done
shift
# The compiler's words are apart again: none of them has a blank in it.
# shellcheck disable=SC2086
$compiler -r -nostdlib -fno-use-linker-plugin -o "$object" -Wl,--whole-archive "$@" -Wl,--no-whole-archive
# What is there for link-time optimisation knows nothing of hidden names: the plain code is what remains.
"$objcopy" --remove-section='.gnu.lto_*' --localize-hidden "$object"
rm -f "$out"
"$ar" rcs "$out" "$object"
rm -f "$object"
