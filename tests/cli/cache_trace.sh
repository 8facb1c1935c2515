# cache trace, from real processes; --cache-trace; what cache stats tells of engines at work; policies.
. "${0%/*}/lib.sh"

run 0 create demo -o cache=on
run 0 create slow -o latency_ms=20
i=0
while [ $i -lt 600 ]; do
    i=$((i + 1))
    echo "\"question $((i % 30))\""
done >in.jsonl
head -n 200 in.jsonl >few.jsonl

# batch FILE [ARG...]: 2 seconds of work in the background, its pid in $batch
batch() {
    results=$1
    shift
    "$AGENTCTL" run slow --each few.jsonl -j 2 --jsonl "$@" >"$results" 2>batch.err &
    batch=$!
}
# quick FILE ARG...: as fast as it goes, mostly from the response cache
quick() {
    results=$1
    shift
    "$AGENTCTL" run demo --each in.jsonl -j 2 --jsonl "$@" >"$results" 2>batch.err &
    batch=$!
}
# A ratio of the first file is that of the second one within 0.02
same_ratio() {
    [ "$(scratch "select abs(json_extract('$(quoted "$1")', '$.hit_ratio') - json_extract('$(quoted "$2")', '$.hit_ratio')) < 0.02")" = 1 ] ||
        bad "the hit ratios of $1 and $2 differ: $(cat "$1" "$2")"
}

note 'two processes are heard, one that was at work and one that comes'
batch one.jsonl
wait_for 10 test -s one.jsonl
"$AGENTCTL" cache trace t.bin --json >traced 2>traced.err &
recorder=$!
wait_for 10 test -e "$AGENTCTL_DB-trace" || bad 'nobody records'
run 0 run demo 'question 7'
run 9 cache trace other.csv --for 1s
says 'records already' 'wait'
[ ! -e other.csv ] || bad 'a refused recording left its file'
wait $batch
kill -INT $recorder
wait $recorder || bad 'a recording that ^C ended failed'
[ "$(wc -l <one.jsonl)" -eq 200 ] || bad 'the batch lost lines'
[ ! -e "$AGENTCTL_DB-trace" ] || bad 'the recording left its file beside the database'
json_in traced '$.dropped' 0
json_in traced '$.is_late' 0
[ "$(scratch "select json_extract('$(quoted traced)', '$.requests') > 3 and json_extract('$(quoted traced)', '$.processes') between 1 and 2")" = 1 ] ||
    bad "too little was recorded: $(cat traced)"
run 0 bench cache --trace t.bin --bytes 64MB --json
[ "$(scratch "select json_extract('$(quoted out)', '$.requests') = json_extract('$(quoted traced)', '$.requests')")" = 1 ] ||
    bad 'the trace has another number of requests'

note 'one process from its beginning: the replay hits as often as it did'
quick two.jsonl --cache-trace own.csv
wait $batch || bad 'the batch failed'
grep -q 'own.csv: 1[0-9]* requests of 1 process' batch.err || bad "nothing is said of the trace: $(cat batch.err)"
run 0 bench cache --trace own.csv --bytes 64MB --json
cp out replayed
run 0 bench cache --trace own.csv --bytes 64MB --json --policy none
json '$.hit_ratio' 0
awk -F, 'NR > 1 { seen[$2]++; n++ } END { for (k in seen) d++; printf "{\"hit_ratio\":%.6f}", (n - d) / n }' own.csv >expected
same_ratio replayed expected
run 2 run demo x --cache-trace own.csv
says 'own.csv'
run 2 run demo x --cache-trace own.txt
says 'own.txt' '.csv'

note 'a recorder that is killed stops nobody, and is in nobody'"'"'s way'
batch three.jsonl
wait_for 10 test -s three.jsonl
"$AGENTCTL" cache trace killed.bin >/dev/null 2>&1 &
recorder=$!
wait_for 10 test -e "$AGENTCTL_DB-trace"
sleep 1.2
kill -9 $recorder
wait $recorder 2>/dev/null
wait $batch || bad 'the batch suffered'
[ "$(wc -l <three.jsonl)" -eq 200 ] || bad 'the batch lost lines'
batch four.jsonl
run 0 cache trace after.bin --for 1500ms --json
json_type '$.requests' integer
wait $batch

note 'a cap, and nothing at all'
batch five.jsonl
run 0 cache trace small.bin --max-bytes 2400 --json
json '$.requests' 100
json '$.is_full' 1
[ "$(wc -c <small.bin)" -eq 2400 ] || bad 'the file is not 2400 bytes'
wait $batch
run 3 cache trace none.bin --for 1s
says 'no request' 'agentctl work'
[ ! -e none.bin ] || bad 'an empty trace was left'
run 1 cache trace nowhere/t.bin --for 1s
says 'nowhere/t.bin'
run 2 cache trace t.txt --for 1s
run 2 cache trace t9.bin --for 0
run 2 cache trace t9.bin --max-bytes much

note 'cache stats tells of engines at work'
run 0 cache stats --json
json '$.front' '[]'
batch six.jsonl
fronts() { [ "$("$AGENTCTL" cache stats --jsonl 2>/dev/null | wc -l)" -ge 2 ]; }
wait_for 20 fronts || bad 'it does not tell'
run 0 cache stats --json
json '$.front[0].policy' lruk-adaptive
json '$.front[0].budget_bytes' 67108864
json '$.front[0].pid' $batch
json_type '$.front[0].hit_ratio' real
json_type '$.front[0].kinds.agent.load_times' array
json_type '$.front[0].kinds.agent.hit_times' array
run 0 cache stats
out_has "front cache of process $batch"
out_has 'load p99'
wait $batch
run 0 cache stats --json
json '$.front' '[]'

note 'policies'
run 0 run demo x --cache-policy gdsf --workers 1
run 2 run demo x --cache-policy best
says best s3fifo
run 2 run demo x --workers many
run 0 limits set cache_policy fifo
run 0 limits show cache_policy --json
json '$[0].value' fifo
json '$[0].default' lruk-adaptive
run 2 limits set cache_policy best
says best s3fifo
run 2 limits set cache_policy 1
run 0 limits reset cache_policy
run 0 limits show cache_policy --json
json '$[0].value' lruk-adaptive
