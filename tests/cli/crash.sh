# After kill -9 in the middle of a tool: pure and idempotent tools are called again with the same
# effect id, a tool that acts waits for a person.
. "${0%/*}/lib.sh"

export TMPDIR="$dir"

# crash TOOL: kills the run as soon as its tool has begun; sets $number
crash() {
    run 0 create "user-$1" -t "$1" --if-not-exists
    rm -f "$dir/$1.begun"
    "$AGENTCTL" run "user-$1" "/tool $1" --jsonl >run.out 2>run.err &
    pid=$!
    wait_for 10 test -s "$dir/$1.begun" || bad "$1 did not begin"
    kill -9 $pid
    wait $pid 2>/dev/null
    number=$(sed -n 's/.*"type":"run.start","run":\([0-9]*\).*/\1/p' run.out)
    pkill_tool "$1"
}
pkill_tool() { [ -s "$dir/$1.pid" ] && kill -9 "$(cat "$dir/$1.pid")" 2>/dev/null; }

# The first call hangs, the next ones answer; each writes its effect id down.
script='echo $AGENT_EFFECT_ID >>"$TMPDIR/$0.ids"
[ -e "$TMPDIR/$0.begun" ] && { echo done; exit; }
echo $$ >"$TMPDIR/$0.pid"; echo yes >"$TMPDIR/$0.begun"; exec sleep 60'
for effect in pure idempotent effect; do
    run 0 tool add "t-$effect" --effect $effect -- sh -c "$script" "t-$effect"
done

for effect in pure idempotent; do
    note "$effect"
    crash "t-$effect"
    run 0 resume "$number"
    out_has done
    [ "$(wc -l <"$dir/t-$effect.ids")" = 2 ] || bad 'the tool was not called twice'
    [ "$(sort -u "$dir/t-$effect.ids" | wc -l)" = 1 ] || bad 'the effect ids differ'
    run 2 resume "$number"
done

note 'effect: approved'
crash t-effect
run 4 resume --all
out_has waiting
[ "$(wc -l <"$dir/t-effect.ids")" = 1 ] || bad 'the tool was called again silently'
run 4 resume "$number"
says "$number" 'approve'
run 0 list runs --status waiting --names
out_is "$number"
run 0 approve "$number"
out_has done
[ "$(sort -u "$dir/t-effect.ids" | wc -l)" = 1 ] || bad 'the effect ids differ'

note 'effect: denied'
rm -f "$dir/t-effect.ids"
crash t-effect
run 4 resume "$number"
run 0 deny "$number" --reason 'it was sent already' --json
json '$.status' succeeded
[ "$(wc -l <"$dir/t-effect.ids")" = 1 ] || bad 'a denied tool was called'
run 0 show "$number" --json
json '$.tool_calls[0].status' denied

note 'a new turn goes on past a run that waits'
crash t-effect
run 4 resume "$number"
session=$(scratch "select json_extract('$(head -n 1 run.out)', '\$.session')")
run 0 run user-t-effect 'never mind' -S "#$session"
run 0 show "$number" --json
json '$.status' failed

note 'nothing is left behind'
run 0 resume --all
run 0 db check
