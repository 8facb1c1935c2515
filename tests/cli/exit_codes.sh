# The exit codes, each by a case of it.
. "${0%/*}/lib.sh"

run 0 create demo
note 'success'; run 0 run demo hi
note 'usage'; run 2 run demo hi --bogus
note 'not found'; run 3 run nobody hi
note 'limit'
head -c 1048577 /dev/zero | tr '\0' a >large
run 6 run demo @large
note 'provider'; run 7 run demo hi -o fail=400
note 'provider, after retries'; run 7 run demo hi -o fail=500 -o retries=0
note 'database'
printf 'no database, but a text that is long enough to have a header of a hundred bytes, which SQLite reads.' >text.db
run 8 --db text.db list
note 'time'; run 124 run demo hi -o latency_ms=20000 --timeout 300ms
says '300 ms'
run 0 list runs -n 1 --json
json '$[0].status' failed

note '^C and SIGTERM'
for signal in INT TERM; do
    "$AGENTCTL" run demo hi -o latency_ms=20000 --jsonl >out 2>err &
    pid=$!
    wait_for 10 grep -q run.start out || bad 'the run did not start'
    kill -$signal $pid
    wait $pid
    code=$?
    [ "$signal:$code" = INT:130 ] || [ "$signal:$code" = TERM:143 ] || bad "SIG$signal answers $code"
    last_line
    json_in last '$.type' run.end
    json_in last '$.status' cancelled
    run 0 list runs -n 1 --json
    json '$[0].status' cancelled
done

note 'the run is over for others too'
run 2 cancel "$(scratch "select json_extract('$(quoted last)', '\$.run')")"

note 'cancelled from another process'
"$AGENTCTL" run demo hi -o latency_ms=20000 --jsonl >run.out 2>run.err &
pid=$!
wait_for 10 grep -q run.start run.out
run 0 cancel "$(sed -n 's/.*"type":"run.start","run":\([0-9]*\).*/\1/p' run.out)"
wait $pid
code=$?
[ "$code" = 1 ] || bad "a run that was cancelled elsewhere answers $code"

note 'busy'
if command -v sqlite3 >/dev/null; then
    mkfifo hold
    sqlite3 "$AGENTCTL_DB" >/dev/null <hold &
    holder=$!
    exec 3>hold
    echo 'begin immediate;' >&3
    sleep 0.3
    run 9 run demo hi
    says "$holder"
    exec 3>&-
    wait $holder
    run 0 run demo hi
fi
