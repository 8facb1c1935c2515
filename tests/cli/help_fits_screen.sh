# Help fits a screen; the manual page in the tree is the one that the table of commands prints.
. "${0%/*}/lib.sh"

fits() { # LINES: and no line wider than a terminal, counted in characters
    out_has usage
    [ "$(wc -l <out)" -le "$1" ] || bad "it has $(wc -l <out) lines"
    sed 's/…/./g' out | LC_ALL=C awk 'length($0) > 80 { exit 1 }' || bad 'a line is wider than 80 columns'
    err_empty
}

note 'agentctl --help'
run 0 --help
fits 44
verbs=$(sed -n 's/^  \([a-z][a-z]*\)  .*/\1/p' out)
[ "$(echo "$verbs" | wc -l)" -ge 18 ] || bad 'verbs are missing'
for verb in $verbs; do
    note "agentctl $verb --help"
    run 0 "$verb" --help
    fits 40
    run 0 help "$verb"
    seconds=$(sed -n "s/^  $verb \([a-z][a-z]*\)  .*/\1/p" out)
    for second in $seconds; do
        note "agentctl $verb $second --help"
        run 0 "$verb" "$second" --help
        fits 40
        out_has examples
        cp out by_flag
        run 0 help "$verb" "$second"
        cmp -s out by_flag || bad 'help VERB and VERB --help differ'
    done
done

note 'help needs no file and asks nothing'
run 0 --db /nowhere/x.db run --help
run 2 help nothing
run 2
says 'no verb' --help
run 0 --version
out_has agentctl

note 'the manual page'
run 0 help --man
if [ -f "$here/../../cli/agentctl.1" ]; then
    cmp -s out "$here/../../cli/agentctl.1" || bad 'cli/agentctl.1 is not what agentctl help --man prints'
else
    bad 'there is no cli/agentctl.1'
fi
if command -v groff >/dev/null; then
    groff -man -Tascii -ww out >/dev/null 2>err
    err_empty
fi
