#!/bin/sh
# House rules a compiler cannot see. Prints each breach with its place and the rule.
#
#   tests/lint.sh [ROOT]       checks the tree (default: the folder above this one)
#   tests/lint.sh --self-test  checks that each rule strikes, on a tree made to break them all
set -u
LC_ALL=C
export LC_ALL

scratch=$(mktemp -d "${TMPDIR:-/tmp}/agent-lint.XXXXXX") || exit 2
trap 'rm -rf "$scratch"' EXIT
trap 'exit 2' HUP INT TERM

breach() { # RULE: what stands on stdin breaks it
    found=$(cat)
    [ -n "$found" ] || return 0
    printf '%s\n  ^ %s\n' "$found" "$1"
    : >"$scratch/failed" # a file, for a pipe's end is a shell of its own
}

# The C of these folders as "file:line:code", without comments and without what is in quotes.
code_of() {
    find "$@" -name '*.[ch]' 2>/dev/null | sort | while IFS= read -r file; do
        awk -v file="$file" '
            function rest_of_line(line,    out, at, c) {
                out = ""
                while (line != "") {
                    if (in_comment) {
                        if ((at = index(line, "*/")) == 0)
                            return out
                        line = substr(line, at + 2)
                        in_comment = 0
                    } else if (match(line, /["\047]|\/\*|\/\//)) {
                        out = out substr(line, 1, RSTART - 1)
                        c = substr(line, RSTART, 1)
                        if (substr(line, RSTART, 2) == "//")
                            return out
                        if (c == "/") {
                            in_comment = 1
                            line = substr(line, RSTART + 2)
                        } else {
                            line = substr(line, RSTART + 1)
                            while (line != "" && (at = substr(line, 1, 1)) != c)
                                line = substr(line, at == "\\" ? 3 : 2)
                            line = substr(line, 2)
                            out = out c c
                        }
                    } else
                        return out line
                }
                return out
            }
            { code = rest_of_line($0); if (code ~ /[^ \t]/) print file ":" NR ":" code }' "$file"
    done
}

includes_of() { # FOLDER: "file:line:#include ..." of it and what is below
    find "$1" -name '*.[ch]' 2>/dev/null | sort | xargs -r grep -nHE '^[[:space:]]*#[[:space:]]*include[[:space:]]'
}

# only FOLDER PATTERN: the quoted includes of FOLDER come from PATTERN and nowhere else.
only() {
    includes_of "$1" | grep '"' | grep -vE "include \"($2)/" | breach "$1 may include from ($2) only, written from the root"
}

# never FOLDER PATTERN: FOLDER does not include <PATTERN…>.
never() {
    includes_of "$1" | grep -E "include [<\"]($2)" | breach "$1 must not include $2: it belongs to another layer"
}

# banned RULE PATTERN FOLDER...: no call of PATTERN in the code of FOLDERs.
banned() {
    rule=$1 names=$2
    shift 2
    code_of "$@" | grep -E "(^|[^[:alnum:]_.>])($names)[[:space:]]*\(" | breach "$rule"
}

check_tree() {
    # The arrows: data flows one way, and so do includes.
    only engine/base     'engine/base'
    only engine/io       'engine/(io|base)'
    only engine/provider 'engine/(provider|io|base)'
    only engine/tool     'engine/(tool|io|base)'
    only engine/cache    'engine/(cache|base)'
    only engine          'engine|storage'
    only storage         'storage|migrations|engine/base'
    only migrations      'migrations|engine/base'
    only cli             'cli'

    # Who speaks what: bytes in io, rows in storage, JSON at the edges.
    for folder in engine cli; do
        never $folder 'sqlite3'
    done
    for folder in engine/base engine/provider engine/tool engine/cache storage migrations cli; do
        never $folder 'curl/'
    done
    for folder in engine/base engine/io engine/cache; do
        never $folder 'jansson'
    done
    code_of engine cli | grep -E '(^|[^[:alnum:]_])sqlite3_' | breach 'SQLite is used in storage and migrations only'

    library='engine storage migrations'
    # shellcheck disable=SC2086 # a list of folders
    {
        banned 'a library does not print' 'printf|vprintf|fprintf|vfprintf|puts|fputs|putchar|perror|psignal' $library
        banned 'a library does not end its host' 'exit|_exit|_Exit|quick_exit|abort|err|errx|atexit' $library
        banned 'a library does not read or change the environment' 'getenv|secure_getenv|setenv|putenv|unsetenv|clearenv' $library
        banned 'a library leaves signals to its host' 'signal|sigaction|raise|alarm|setitimer' $library
        banned 'a library does not fork or run a shell' 'fork|vfork|system|popen|daemon' $library
        banned 'a library does not change what the whole process has' 'chdir|fchdir|umask|setlocale|setrlimit|srand|srandom' $library
        code_of $library | grep -v '^engine/base/mem\.c:' |
            grep -E '(^|[^[:alnum:]_.>])(malloc|calloc|realloc|free|strdup|strndup|asprintf|vasprintf)[[:space:]]*\(' |
            while IFS= read -r line; do # what json_dumps() gives has to go back to free()
                case $line in
                *[!a-z_.]free*) grep -q 'json_dumps(' "${line%%:*}" || printf '%s\n' "$line" ;;
                *) printf '%s\n' "$line" ;;
                esac
            done |
            breach 'the heap has one door: engine/base/mem.h'
    }
    banned 'no copying without a bound, no hidden state' \
        'strcpy|strcat|stpcpy|sprintf|vsprintf|gets|strtok|atoi|atol|atoll|atof|tmpnam|mktemp|alloca' engine storage migrations cli
    banned 'not safe with threads: use the _r form' 'localtime|gmtime|ctime|asctime|getpwuid|readdir64_r|rand' \
        engine storage migrations

    # Names: what is exported is called agent_, what is ours ag_.
    code_of engine/include | grep -E 'AGENT_API.*[[:space:]*]ag_' | breach 'an exported function is called agent_…'
    code_of engine storage migrations cli | grep 'AGENT_API' | grep -E '\.c:' |
        breach 'AGENT_API stands in the public headers only'

    # Leftovers.
    find engine storage migrations cli tests bench -type f \( -name '*.[ch]' -o -name '*.sql' -o -name '*.sh' \) 2>/dev/null |
        grep -v '^tests/lint\.sh$' | sort >"$scratch/ours"
    xargs -r grep -nHE '(^|[^[:alnum:]_])(TODO|FIXME|XXX|HACK)([^[:alnum:]_]|$)' <"$scratch/ours" |
        breach 'finish it, or say in words what it does not do'
    xargs -r grep -nHE '[[:space:]]+$' <"$scratch/ours" | breach 'white space at the end of the line'
    grep -E '\.[ch]$' "$scratch/ours" | xargs -r grep -nHE '	' | breach 'tabs: four spaces'
    grep -v '^tests/' "$scratch/ours" | xargs -r awk 'FNR == 1501 { print FILENAME }' | breach 'over 1500 lines: usually two ideas'
    xargs -r grep -nHE '(^|[^[:alnum:]_/.])/(root|home|work|Users)/[[:alnum:]]' <"$scratch/ours" |
        breach 'a path of one machine'
    grep -E '\.h$' "$scratch/ours" | while IFS= read -r header; do
        grep -qE '^#ifndef [A-Z0-9_]+$' "$header" || printf '%s\n' "$header"
    done | breach 'a header without a guard'
}

# --- the self-test: each line breaks one rule, and its file must be told ------------------------------

plant() { # FILE TEXT
    mkdir -p "$(dirname "$1")"
    printf '%s\n' "$2" >"$1"
}

plant_breaches() {
    plant engine/base/a1.c '#include "engine/io/sse.h"'
    plant engine/io/a2.c '#include "engine/tool/tool.h"'
    plant engine/provider/a3.c '#include "engine/tool/tool.h"'
    plant engine/tool/a4.c '#include "storage/store.h"'
    plant engine/cache/a5.c '#include "storage/store.h"'
    plant engine/a6.c '#include "migrations/migrate.h"'
    plant storage/a7.c '#include "engine/run.h"'
    plant storage/sqlite/a8.c '#include "store.h"'
    plant migrations/a9.c '#include "storage/store.h"'
    plant cli/b1.c '#include "engine/base/buf.h"'
    plant cli/b2.c '#include <sqlite3.h>'
    plant engine/tool/b3.c '#include <curl/curl.h>'
    plant engine/io/b4.c '#include <jansson.h>'
    plant engine/b5.c 'int f(void) { return sqlite3_libversion_number(); }'
    plant engine/b6.c 'void f(void) { printf("x"); }'
    plant storage/b7.c 'void f(void) { if (1) exit (1); }'
    plant engine/b8.c 'char *f(void) { return getenv("HOME"); }'
    plant engine/b9.c 'void f(void) { signal(2, 0); }'
    plant engine/c1.c 'int f(void) { return fork(); }'
    plant engine/c2.c 'void f(void) { setlocale(0, ""); }'
    plant engine/c3.c 'void *f(void) { return malloc(1); }'
    plant cli/c4.c 'void f(char *a) { strcpy(a, "x"); }'
    plant engine/c5.c 'void *f(void *t) { return localtime(t); }'
    plant engine/include/agent/c6.h 'AGENT_API int ag_x(void);'
    plant engine/c7.c 'AGENT_API int agent_x(void) { return 1; }'
    plant tests/c8.c '/* TODO: more */'
    plant tests/c9.c 'int x; '
    plant bench/d1.c "$(printf '\tint x;')"
    plant bench/d2.c 'const char *x = "/home/me/x";'
    plant engine/d3.h 'int x;'
    awk 'BEGIN { for (i = 0; i < 1501; i++) print "int x" i ";" }' >engine/d4.c
    # What looks like a breach and is none; file names begin with ok.
    plant engine/ok1.c '/* never exit() here, nor printf("x") */ const char *x = "free(x) \" getenv(y)";'
    plant engine/ok2.c "$(printf '/* a comment of two lines:\n malloc(1) */ int ag_free(void); char c = \047"\047; // abort()')"
    plant engine/ok3.c 'void f(struct s *p) { p->free(p); ag_buf_printf(p, "x"); snprintf(0, 0, "x"); t.exit(1); }'
    plant engine/tool/ok4.c '#include "engine/tool/tool.h"'
    plant engine/tool/ok6.c 'void f(void *v) { char *p = json_dumps(v); free(p); }'
    plant cli/ok5.c '#include <agent/agent.h>'
    plant engine/base/mem.c 'void f(void *p) { free(p); }'
}

self_test() {
    mkdir "$scratch/tree" && cd "$scratch/tree" || exit 2
    plant_breaches
    check_tree >"$scratch/told"
    wrong=0
    [ -e "$scratch/failed" ] || { echo 'lint: breaches do not make it fail' >&2; wrong=1; }
    for file in $(find . -type f | sed 's|^\./||' | sort); do
        told=$(grep -c "^$file" "$scratch/told")
        case $(basename "$file") in
        ok* | mem.c) [ "$told" -eq 0 ] || { grep "^$file" "$scratch/told"; echo "lint: $file is no breach" >&2; wrong=1; } ;;
        *) [ "$told" -gt 0 ] || { echo "lint: the breach in $file was not told" >&2; wrong=1; } ;;
        esac
    done
    rm -f "$scratch/failed"
    find . -type f ! -name 'ok*' ! -name mem.c -exec rm -f {} +
    check_tree >/dev/null
    [ ! -e "$scratch/failed" ] || { echo 'lint: a clean tree fails' >&2; wrong=1; }
    return $wrong
}

if [ "${1:-}" = --self-test ]; then
    self_test
    exit $?
fi
cd "${1:-$(dirname "$0")/..}" || exit 2
[ -d engine/base ] || { echo "lint: no engine/base in $(pwd)" >&2; exit 2; }
check_tree
[ ! -e "$scratch/failed" ]
