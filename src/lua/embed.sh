#!/bin/sh
#
# embed.sh FILE.lua ... > lua_scripts.h
#
# Turns each script into one C string constant, auc_lua_FILE, byte by byte the
# same, comments included: the line numbers in an error of Redis are those of
# the file.  POSIX sh and sed, nothing else.

set -eu

if [ $# -eq 0 ]; then
	echo "usage: $0 FILE.lua ... > lua_scripts.h" >&2
	exit 2
fi

echo "/* Made from src/lua/ by embed.sh: change the scripts, not this file. */"
for file in "$@"; do
	name=$(basename "$file" .lua)
	case $name in
		'' | *[!a-z0-9_]*)
			echo "$0: \"$file\" does not give a C name" >&2
			exit 1
			;;
	esac
	printf '\nstatic const char auc_lua_%s[] =\n' "$name"
	sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/	/\\t/g' \
		-e 's/^/	"/' -e 's/$/\\n"/' "$file"
	echo ";"
done
