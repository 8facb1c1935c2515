# On a terminal: text as it comes, tables that fit the screen, a question before what removes.
. "${0%/*}/lib.sh"
command -v script >/dev/null || { echo 'no script(1) to play a terminal' >&2; exit 77; }

# tty COMMAND-LINE: with a terminal of 60 columns on all three descriptors; $answer is typed
answer=
tty() {
    printf '%s\n' "$answer" | script -qec "stty cols 60; $1" /dev/null >raw 2>err
    code=$?
    tr -d '\r' <raw >out
}

run 0 create demo
run 0 run demo 'a prompt that is much longer than what is left of sixty columns on a terminal' -o 'answer=an answer'

note 'a table fits'
tty '"$AGENTCTL" list runs'
out_has …
sed 's/…/./g' out | sed 's/.\[[01]m//g' | awk 'length($0) > 60 { exit 1 }' || bad 'a line is wider than the terminal'

note 'NO_COLOR'
NO_COLOR=1 TERM=xterm tty '"$AGENTCTL" list runs'
grep -q "$(printf '\033')" out && bad 'there is colour'

note 'text comes once'
tty '"$AGENTCTL" run demo hi -o chunks=4 -o "answer=one two three four"'
[ "$(grep -c 'one two three four' out)" = 1 ] || bad 'the answer is not shown once'

note 'a retry is told'
tty '"$AGENTCTL" run demo hi -o fail=500 -o retries=1'
[ "$code" = 7 ] || bad "it answers $code"
out_has 'trying again'

note 'tools are told'
tty '"$AGENTCTL" run demo "/tool calc {\"expression\": \"6*7\"}"'
out_has 'calc is called'
out_has 42

note 'an escape sequence in an answer does not reach the terminal'
run 0 create escape -o "answer=\"a\\u001b[2Jb\""
tty '"$AGENTCTL" run escape hi'
grep -q "$(printf '\033')\[2J" raw && bad 'the screen was cleared'
run 0 run escape hi
grep -q "$(printf '\033')\[2J" out || bad 'in a pipe the answer is not as it was'

note 'a question'
answer=n
tty '"$AGENTCTL" rm demo'
[ "$code" = 5 ] || bad "no answers $code"
out_has '[y/N]'
run 0 show demo
answer=y
tty '"$AGENTCTL" rm demo'
[ "$code" = 0 ] || bad "yes answers $code"
run 3 show demo

note 'sql is a table'
tty '"$AGENTCTL" sql "select 1 as one"'
out_has one
out_lacks '{'
