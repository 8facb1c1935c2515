# stats and top: the figures of a run and of many, the drawings, what goes on now.
. "${0%/*}/lib.sh"

# An XML document is read by whatever reader of XML there is.
xml_valid() {
    if command -v xmllint >/dev/null; then
        xmllint --noout "$1" 2>err || bad "$1 is no XML"
    elif command -v python3 >/dev/null; then
        python3 -c 'import sys, xml.dom.minidom as x; x.parse(sys.argv[1])' "$1" 2>err || bad "$1 is no XML"
    fi
}

run 0 tool add nap --effect pure -- sh -c 'sleep 0.12; echo rested'
run 0 create demo -t nap -t calc -o latency_ms=30 -o chunks=3 -o chunk_ms=10
run 0 limits set smaps_budget_us 1000000 # reading a process that sanitizers swell costs more
run 0 create 'other' -o latency_ms=5
run 0 create broken -o fail=500 -o retries=0
run 0 run demo '/tool nap {}
/tool calc {"expression": "6*7"}'
run 0 run demo hello
run 0 run other hello
run 7 run broken hello

note 'a run as a table in a pipe: plain numbers, a dash for what is unknown'
run 0 stats 1
err_empty
head -n 1 out >head
grep -q '^step  *stage  *wall_us  *commit_us  *rss_before_bytes' head || bad 'the heading is another'
[ "$(awk 'NR > 1 && $3 !~ /^[0-9]+$/' out | wc -l)" = 0 ] || bad 'a time is no plain number'
[ "$(awk '{ print NF }' out | sort -u | wc -l)" = 1 ] || bad 'rows have not the same number of columns'
for stage in queue load prepare infer respond tool reclaim; do
    grep -q " $stage " out || bad "there is no stage $stage"
done
[ "$(scratch "select $(awk 'NR > 1 { s += $3 } END { print s }' out) as v")" = \
    "$("$AGENTCTL" sql --table 'select cast(round((queue_ms + wall_ms) * 1000) as integer) as v from v_runs where id = 1' | tail -n 1 | tr -d ' ')" ] ||
    bad 'the stages do not add up to queue and wall'

note 'a chart is for who asks'
out_lacks '%'
run 0 stats 1 --chart
out_has '%'
LC_ALL=C run 0 stats 1 --chart
[ -z "$(LC_ALL=C tr -d '\n\040-\176' <out)" ] || bad 'there is more than ASCII'
out_has '###'

note 'JSON'
run 0 stats 1 --json
json_valid
json '$.run[0].status' succeeded
json '$.stages[0].stage' queue
json_type '$.stages[0].child_rss_peak_bytes' null
json '$.tool_calls[0].tool' nap
run 0 --db "$AGENTCTL_DB" sql 'select count(*) as n from v_stage_memory where run_id = 1'
stages=$(sed -n 's/.*"n":\([0-9]*\).*/\1/p' out)
run 0 stats 1 --json
[ "$(scratch "select json_array_length('$(quoted out)', '\$.stages') as v")" = "$stages" ] || bad 'stages are missing'

note 'SVG'
run 0 stats 1 --svg run.svg
err_has run.svg
out_empty
xml_valid run.svg
grep -q '>time in stages<' run.svg || bad 'the axis of time has no name'
grep -q 'nap' run.svg || bad 'the tool is not there'
[ "$(grep -c 'http' run.svg)" = 1 ] || bad 'it refers to something'
run 0 stats 1 --svg -
cmp -s out run.svg || bad 'stdout is another drawing'
run 0 stats 4 --svg failed.svg --json
json '$.svg' failed.svg
xml_valid failed.svg
grep -q 'failed' failed.svg || bad 'the status is not there'

note 'a failure leaves the drawing that was there'
run 3 stats 99 --svg run.svg
says 'no run 99' 'list runs'
grep -q '>time in stages<' run.svg || bad 'it is gone'
run 1 stats 1 --svg /nowhere/run.svg
says /nowhere/run.svg

note 'by stage, and that the percentiles are those of the view'
run 0 stats --by stage --json
json_valid
json '$.by' stage
cp out by.json
at=0
for stage in queue load prepare infer respond tool reclaim; do
    json_in by.json "\$.groups[$at].stage" "$stage"
    for figure in wall_us heap_peak_bytes rss_after_bytes-rss_before_bytes child_rss_peak_bytes; do
        want=$("$AGENTCTL" sql --table "with v as (select $figure as w, row_number() over (order by $figure) as r, count(*) over () as n
            from v_stage_memory where stage = '$stage' and $figure is not null)
            select coalesce((select w from v where r = (n * 50 + 99) / 100) || '/' || (select w from v where r = (n * 95 + 99) / 100) ||
            '/' || max(w) || '/' || count(*), 'none') as x from v" | tail -n 1)
        [ "$figure" = rss_after_bytes-rss_before_bytes ] && figure=rss_growth_bytes # nothing here is shared
        got=$(scratch "select coalesce(json_extract(f, '\$.p50') || '/' || json_extract(f, '\$.p95') || '/' || json_extract(f, '\$.max') ||
            '/' || json_extract(f, '\$.count'), 'none') as x
            from (select json_extract('$(quoted by.json)', '\$.groups[$at].$figure') as f)")
        [ "$got" = "$want" ] || bad "$figure of $stage is $got, not $want"
    done
    at=$((at + 1))
done

note 'by agent: one value a run'
run 0 stats --by agent --json
json '$.groups[0].agent' demo
json '$.groups[0].count' 2
run 0 stats --by model
out_has offline:demo
run 0 stats --by tool --json
json '$.groups[0].tool' nap
json '$.groups[0].count' 1
[ "$(scratch "select json_extract('$(quoted out)', '\$.groups[0].wall_us.p50') > 100000 as v")" = 1 ] || bad 'nap took no time'

note 'of an agent, since a time'
run 0 stats other --by agent --json
json '$.groups[0].agent' other
json_type '$.groups[1]' missing
run 0 stats --agent other
grep -q '^infer  *1 ' out || bad 'not one run of other'
run 0 stats --since 1h --by agent --json
json '$.rows' 4
run 0 stats --since 2999-01-01 --by agent --json
json '$.rows' 0
run 3 stats --agent nobody
says nobody
run 2 stats --since yesterday
says yesterday '2026-01-31'
run 2 stats --by colour
run 2 stats 1 --by stage
run 2 stats demo --svg x.svg

note 'a page'
run 0 stats demo --html page.html
grep -q '<!doctype html>' page.html || bad 'it is no page'
[ "$(grep -c '<svg ' page.html)" = 2 ] || bad "there are $(grep -c '<svg ' page.html) drawings, not 2"
grep -qE '(href|src)="?(http|//)' page.html && bad 'it refers to something'
grep -q '<script' page.html && bad 'there is a script'
run 0 stats demo --html - -n 1
[ "$(grep -c '<svg ' out)" = 1 ] || bad 'one run was asked for'
run 0 stats demo --html page.html --json
json '$.html' page.html
run 2 stats --html page.html
run 3 stats nobody --html none.html
[ -e none.html ] && bad 'a page of nobody was made'

note 'a stage that a crash cut off is there, with nothing known of it'
"$AGENTCTL" run demo hello -o latency_ms=20000 >/dev/null 2>&1 &
victim=$!
wait_for 10 sh -c '"$AGENTCTL" sql "select 1 as one from v_steps where run_id = 5 and status = \"running\"" | grep -q one' || bad 'it did not start'
kill -9 "$victim"
wait "$victim" 2>/dev/null
run 0 top --json
json '$.runs.running' 1
json '$.owners[0].alive' 0
json '$.owners[0].runs' 1
"$AGENTCTL" cancel 5 >/dev/null 2>&1
"$AGENTCTL" resume 5 >/dev/null 2>&1
run 0 stats 5 --chart
run 0 stats 5 --svg crash.svg
xml_valid crash.svg

note 'top, of a run under way'
"$AGENTCTL" run demo 'a long one' -o latency_ms=20000 >/dev/null 2>&1 &
busy=$!
number=$("$AGENTCTL" sql --table 'select max(id) as n from v_runs' | tail -n 1 | tr -d ' ')
wait_for 10 sh -c '"$AGENTCTL" top --json | grep -q "\"stage\":\"infer\""' || bad 'the run is not in infer'
run 0 top --json
json_valid
json '$.runs.running' 1
json '$.stages.infer.runs' 1
json '$.running[0].input' 'a long one'
json '$.owners[0].pid' "$busy"
json '$.owners[0].alive' 1
[ ! -r "/proc/$busy/statm" ] || [ "$(scratch "select json_extract('$(quoted out)', '\$.owners[0].rss_bytes') > 1000000 as v")" = 1 ] ||
    bad 'the owner has no memory'
json '$.errors[0].agent' broken
run 0 top
out_has '1 running'
out_has 'a long one'
run 0 top -n 3 --interval 100ms --jsonl
out_lines 3
run 0 top -n 2 --interval 100ms --json
json_type '$' array
run 2 top --interval 1ms
kill "$busy"
wait "$busy" 2>/dev/null
run 0 top --json
json '$.runs.running' 0
json_type '$.owners' array

note 'the series of a run that was longer than the interval'
run 0 run demo '/tool nap {}' --sample-interval 10ms --jsonl
number=$("$AGENTCTL" sql --table 'select max(id) as n from v_runs' | tail -n 1 | tr -d ' ')
run 0 stats "$number" --json
json_valid
json '$.samples[0].run_id' "$number"
json '$.samples[1].run_id' "$number"
[ "$(scratch "select json_extract('$(quoted out)', '\$.samples[1].rss_bytes') > 1000000 as v")" = 1 ] || bad 'the process has no memory'
run 0 stats "$number" --svg sampled.svg
xml_valid sampled.svg
grep -q 'sampled between' sampled.svg || bad 'the line does not go through the samples'
run 0 run other hello --sample-interval 1s
run 0 stats "$((number + 1))" --json
json_type '$.samples[0]' missing
run 0 run other hello --sample-interval 0
run 0 stats "$((number + 2))" --json
json_type '$.samples[0]' missing
json_type '$.stages[0].pss_bytes' null

note 'steps of memory pressure'
run 0 stats --json
json_type '$.notices[0]' missing
run 6 run other hello --memory-limit 1MB
says memory_limit
run 0 stats --json
json_valid
json '$.notices[0].kind' pressure
json '$.notices[0].level' 3
json '$.notices[2].level' 1
json_type '$.notices[3]' missing
run 0 stats
err_has 'new runs are refused'
out_lacks refused
run 0 stats --since 2999-01-01 --json
json_type '$.notices[0]' missing
run 0 doctor
out_has 'last memory notice'
out_has 'PSS readings'

note 'on a terminal'
if command -v script >/dev/null; then
    script -qec 'stty cols 60; "$AGENTCTL" stats 1' /dev/null </dev/null 2>err | tr -d '\r' >out
    sed 's/.\[[0-9;]*m//g' out >plain
    grep -q ' ms' plain || bad 'there are no units'
    awk 'length($0) > 240 { exit 1 }' plain || bad 'a line is much wider than the terminal'
    script -qec '"$AGENTCTL" top -n 2 --interval 100ms; echo "rc $?"' /dev/null </dev/null 2>err | tr -d '\r' >out
    out_has 'rc 0'
    grep -q "$(printf '\033')\[?1049l" out || bad 'the screen is not given back'
fi
