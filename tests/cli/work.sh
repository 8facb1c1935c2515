# The durable queue: run -d puts into it, work takes from it, wait and tail look on, from processes
# of their own.
. "${0%/*}/lib.sh"

export TMPDIR="$dir"
run 0 create demo
run 0 create slow -o latency_ms=1500
run 0 create bad -o fail=400
run 0 create story -o chunks=8 -o chunk_ms=150

# status NUMBER WORD
status() {
    run 0 show run "$1" --json
    json '$.status' "$2"
}
# Starts a process that works until it is told to stop; sets $worker
start_work() {
    "$AGENTCTL" work "$@" >work.out 2>work.err </dev/null &
    worker=$!
}
stop_work() {
    kill -TERM $worker 2>/dev/null
    wait $worker
    work_code=$?
}

note 'run -d queues and drives nothing'
run 0 run -d demo 'hello'
out_is 1
err_empty
run 0 run -d demo 'hello again' --json
json '$.run' 2
run 0 run -d demo 'and again' -S s -p high
status 1 queued
run 3 run -d nobody hello
says nobody

note 'wait with nobody at work'
run 124 wait 1 --timeout 100ms
says 'still queued' 'agentctl work'
run 3 wait 99
run 2 wait x

note 'work until idle'
run 0 work --until-idle -j 1
out_empty
err_has 'run 1 of demo: succeeded'
head -n 1 err | grep -q 'run 3' || bad 'the high one was not first'
status 1 succeeded
status 2 succeeded
run 0 work --until-idle --json
json '$.succeeded' 0
run 0 run -d demo one
run 0 run -d bad two
run 0 work --until-idle --jsonl
out_lines 2
grep -q '"run":4,.*"agent":"demo","status":"succeeded"' out || bad 'no run.end of run 4'
grep -q '"run":5,.*"agent":"bad","status":"failed"' out || bad 'no run.end of run 5'
run 2 work -j 0
run 2 work now

note 'wait ends as the run did'
run 0 wait 1
out_has 'You said: hello'
run 7 wait 5
says 'HTTP 400'
run 7 wait 4 5 1 --jsonl
out_lines 3
run 0 wait 4 --json
json '$.status' succeeded
json '$.agent' demo

note 'one key, one run'
run 0 run -d demo 'keyed' --idempotency-key k
keyed=$(cat out)
run 0 run -d demo 'another' --idempotency-key k
out_is "$keyed"
run 0 run demo 'a third' --idempotency-key k
out_has 'You said: keyed'
run 0 run -d demo 'a fourth' --idempotency-key k
out_is "$keyed"

note 'a process at work is woken by what others queue'
start_work
run 0 run -d demo 'wake up'
number=$(cat out)
run 0 wait "$number" --timeout 30s
out_has 'wake up'

note 'tail shows the text as it grows'
run 0 run -d story 'a story that is long enough to come in pieces'
number=$(cat out)
run 0 tail "$number" --jsonl
grep -c '"type":"text.delta"' out >count
[ "$(cat count)" -gt 1 ] || bad 'the text came in one piece'
last_line
json_in last '$.type' run.end
json_in last '$.status' succeeded
run 0 tail "$number"
out_has 'a story that is long enough'
run 0 run -d demo '/tool calc {"expression":"6*7"}' -o latency_ms=1500 # so that tail is there before it ends
run 0 tail "$(cat out)"
out_has 42
err_has 'calc succeeded: 42'
run 3 tail 999
run 2 tail
run 2 tail 1 --all

note 'tail --all follows every run until ^C'
"$AGENTCTL" tail --all --jsonl >all.out 2>all.err </dev/null &
tail=$!
sleep 0.3
run 0 run -d story 'seen by all'
number=$(cat out)
run 0 wait "$number"
wait_for 10 grep -q "\"type\":\"run.end\",\"run\":$number," all.out || bad 'tail --all did not tell the end'
kill -TERM $tail
wait $tail

note 'cancelled from another process'
run 0 run -d slow 'never mind'
number=$(cat out)
wait_for 10 grep -q . work.err
wait_for 10 sh -c "'$AGENTCTL' show run $number --json | grep -q '\"status\":\"running\"'" || bad 'it does not run'
run 0 cancel "$number"
run 1 wait "$number" --timeout 30s
status "$number" cancelled

note 'SIGTERM takes nothing new and ends what runs'
run 0 run -d slow 'to the end'
number=$(cat out)
wait_for 10 sh -c "'$AGENTCTL' show run $number --json | grep -q '\"status\":\"running\"'" || bad 'it does not run'
kill -TERM $worker
run 0 run -d demo 'for the next one'
later=$(cat out)
wait $worker
[ $? = 0 ] || bad 'work did not end with 0'
status "$number" succeeded
status "$later" queued

note 'a second signal stops at once and loses nothing'
run 0 run -d slow 'for the next one too'
number=$(cat out)
start_work
wait_for 10 sh -c "'$AGENTCTL' show run $number --json | grep -q '\"status\":\"running\"'" || bad 'it does not run'
kill -TERM $worker
sleep 0.2
kill -TERM $worker
wait $worker
[ $? = 143 ] || bad 'work did not end by the second signal'
run 0 work --until-idle
status "$number" succeeded
status "$later" succeeded

note 'what a killed process had is taken over by a living one'
start_work
first=$worker
for i in 1 2 3; do run 0 run -d slow "$i"; done
number=$(cat out)
wait_for 10 sh -c "'$AGENTCTL' show run $number --json | grep -q '\"status\":\"running\"'" || bad 'it does not run'
start_work
kill -9 $first
wait $first 2>/dev/null
run 0 wait "$number" --timeout 60s
stop_work
run 0 work --until-idle
run 0 list runs --status running --names
out_empty

note 'a suspended process has its run until it is taken by force'
start_work
run 0 run -d slow 'mine'
number=$(cat out)
wait_for 10 sh -c "'$AGENTCTL' show run $number --json | grep -q '\"status\":\"running\"'" || bad 'it does not run'
kill -STOP $worker
run 9 resume "$number"
run 0 resume "$number" --force
out_has 'You said: mine'
kill -CONT $worker
wait_for 20 grep -q "run $number .*taken over" work.err || bad 'the run was not dropped'
stop_work
[ "$work_code" = 0 ] || bad "work ended with $work_code"
run 0 show run "$number" --json
json '$.attempts' 2
run 2 resume --all --force

note 'a copy of the file repeats nothing by itself'
"$AGENTCTL" run -d demo 'of the original' >/dev/null
"$AGENTCTL" run -d demo 'of the original, too' -S copied >number
cp "$AGENTCTL_DB" "$dir/copy.db"
run 0 --db "$dir/copy.db" run -d demo 'of the copy'
run 0 --db "$dir/copy.db" run -d demo 'behind one of the original' -S copied
run 0 --db "$dir/copy.db" work --until-idle
grep -c succeeded err >count
[ "$(cat count)" = 1 ] || bad 'runs of the original were driven'
run 0 --db "$dir/copy.db" list runs --status queued --names
out_lines 3
run 0 --db "$dir/copy.db" resume --all
out_has 'of the original, too'
run 0 --db "$dir/copy.db" db check
run 0 work --until-idle
status "$(cat number)" succeeded

run 0 db check

note 'a busy session is waited for, or refused'
run 0 run -d slow one -S busy
run 9 run slow two -S busy --on-busy fail
err_has 'busy'
err_has 'agentctl wait'
run 9 run -d slow two -S busy --on-busy fail
run 0 list runs --json
count=$(scratch "select json_array_length('$(quoted out)')")
run 2 run slow two -S busy --on-busy never
start_work
run 0 run slow two -S busy --on-busy queue
stop_work
run 0 run demo three -S '#1' --on-busy fail
