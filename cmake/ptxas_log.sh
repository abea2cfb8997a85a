#!/bin/sh
# Runs a compiler (a launcher of nvcc, see GlowLibrary.cmake) and keeps what ptxas says of the kernels' resources
# beside the object file, as OBJECT.ptxas; the rest of the messages is passed on.
object=
previous=
for argument in "$@"; do
    [ "$previous" = -o ] && object=$argument
    previous=$argument
done
messages=$("$@" 2>&1)
status=$?
[ -n "$object" ] && printf '%s\n' "$messages" | grep -E '^ptxas info|bytes stack frame' >"$object.ptxas"
printf '%s\n' "$messages" | grep -vE '^ptxas info|bytes stack frame|^$' >&2
exit $status
