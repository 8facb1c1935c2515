# In a pipe: no colour, nothing cut, a reader that leaves early is no error; a disk that is full is one.
. "${0%/*}/lib.sh"

run 0 create demo -s 'an instruction that is quite long, so that a table on a small terminal would have to cut it'
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
    run 0 run demo "prompt number $i that is also long enough to be cut on a terminal of eighty columns, were it one"
done

note 'nothing is cut, nothing coloured'
run 0 list runs
out_has 'were it one'
grep -q "$(printf '\033')" out && bad 'there is colour in a pipe'
grep -q ' $' out && bad 'lines end in blanks'

note 'a reader that leaves'
{ "$AGENTCTL" list runs --jsonl; echo $? >code; } 2>err | head -n 1 >out
[ "$(cat code)" = 0 ] || bad "agentctl list | head answers $(cat code)"
err_empty
{ "$AGENTCTL" run demo hello --jsonl -o chunks=50 -o chunk_ms=5; echo $? >code; } 2>err | head -n 1 >out
[ "$(cat code)" = 0 ] || bad "agentctl run | head answers $(cat code)"
err_empty
run 0 list runs -n 1 --json
json '$[0].status' succeeded

note 'a terminal that has gone, a full disk'
"$AGENTCTL" list >&- 2>err
[ $? = 1 ] || bad 'a closed stdout is no error'
err_has 'standard output'
if [ -w /dev/full ]; then
    "$AGENTCTL" list >/dev/full 2>err
    [ $? = 1 ] || bad 'a full disk is no error'
    err_has 'No space left'
fi
"$AGENTCTL" list >out 2>&- || bad 'a closed stderr breaks a list'
"$AGENTCTL" run demo hi >out 2>err <&- || bad 'a closed stdin breaks a run'

note 'text off a terminal is the committed answer alone'
run 0 run demo hello -o chunks=5 -o answer='all of it'
out_is 'all of it'
