# The response cache: kept, used, shown, removed, limited; and clean after a kill in mid fill.
. "${0%/*}/lib.sh"

run 0 create demo
run 0 create keeps -o cache=on

note 'off unless asked for'
run 0 run demo hello --json
json '$.cache_hit' 0
run 0 cache ls --json
out_is '[]'

note 'on: the second time is a hit, with the same answer'
run 0 run keeps 'hello there' --json
json '$.cache_hit' 0
cp out first
run 0 run keeps 'hello there' --json
json '$.cache_hit' 1
json '$.output' "$(scratch "select json_extract('$(quoted first)', '$.output')")"
run 0 run keeps 'hello there'
out_has 'hello there'
run 0 run keeps 'hello there' --jsonl
grep -q '"type":"text.delta"' out || bad 'a hit tells no text as it comes'
last_line
json_in last '$.cache_hit' 1

note 'for one run'
run 0 run demo 'only now' --cache on
run 0 run demo 'only now' --cache on --json
json '$.cache_hit' 1
run 0 run demo 'only now' --json
json '$.cache_hit' 0
run 0 run keeps 'hello there' --cache off --json
json '$.cache_hit' 0
run 0 run keeps 'hello there' --cache refresh --json
json '$.cache_hit' 0
run 0 run keeps 'not kept' --cache read-only
run 0 run keeps 'not kept' --json
json '$.cache_hit' 0
run 2 run keeps x --cache sometimes
run 2 create bad -o cache=sometimes
says read-only

note 'a call is replayed and made again'
run 0 run keeps '/tool calc {"expression": "17*23"}'
out_has 391
run 0 run keeps '/tool calc {"expression": "17*23"}' --json
json '$.cache_hit' 1
run 0 sql "select count(*) as n from v_tool_calls where status = 'succeeded'"
out_has 2
run 0 sql "select group_concat(cached) as c from v_steps where kind = 'model' and run_id = (select max(run_id) from v_steps)"
out_has 1,1

note 'its rows'
run 0 cache stats --json
json_type '$.entries' integer
json '$.limit_bytes' 268435456
run 0 cache ls keeps --json
json '$[0].agent' keeps
json_type '$[0].expires_at' null
key=$(scratch "select json_extract('$(quoted out)', '$[0].key')")
run 0 cache show "$key" --json
json '$.key' "$key"
run 0 cache show "$(echo "$key" | cut -c1-10)"
out_has 'hello there'
run 3 cache show 00000000
says 00000000 'cache ls'
run 2 cache show x
run 2 cache rm "$key"
says -y
run 0 cache rm "$key" --dry-run
run 0 cache rm "$key" -y
run 3 cache rm "$key" -y
run 0 run keeps 'hello there' --json
json '$.cache_hit' 0

note 'all that begin alike'
run 0 run keeps 'hello there'
run 0 cache rm "$(echo "$key" | cut -c1-5)*" --dry-run --json
json '$.would_remove' 1
run 0 cache rm 'ffffffffffffffffffff*' --json
json '$.removed' 0
run 2 cache rm "$(echo "$key" | cut -c1-5)*"
says -y
run 2 cache rm '*' -y
says '*' 'cache clear'
run 2 cache rm 'xyz*' -y
run 2 cache show "$(echo "$key" | cut -c1-5)*"
run 0 cache rm "$(echo "$key" | cut -c1-5)*" -y --json
json '$.removed' 1
run 0 run keeps 'hello there' --json
json '$.cache_hit' 0

note 'expires'
run 0 run keeps 'short-lived' -o cache_ttl_ms=3600000
run 0 cache ls --json
json_type '$[#-1].expires_at' text

note 'cleared and limited'
run 0 cache clear --dry-run --json
json_type '$.would_remove' integer
run 0 cache clear -y
run 0 cache stats --json
json '$.entries' 0
json '$.bytes' 0
run 0 cache resize 4KB
run 2 cache resize much
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do run 0 run keeps "question $i"; done
run 0 cache stats --json
json '$.limit_bytes' 4096
[ "$(scratch "select json_extract('$(quoted out)', '$.bytes') <= 4096 and json_extract('$(quoted out)', '$.entries') > 4")" = 1 ] ||
    bad 'the limit does not hold, or keeps nothing'
run 0 run keeps 'question 16' --json
json '$.cache_hit' 1

note 'gone with its agent'
run 0 rm keeps -y
run 0 cache ls --json
json_type '$[1]' missing

note 'kill -9 in mid fill and mid eviction'
run 0 create fill -o cache=on
i=0
while [ $i -lt 20 ]; do
    i=$((i + 1))
    "$AGENTCTL" run fill "$(printf 'fill %0300d' $i)" >/dev/null 2>&1 &
    pid=$!
    sleep "$(printf '0.%03d' $((i * 11 % 150)))"
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
done
run 0 db check
run 0 run fill 'and now'
run 0 sql "select (select sum(bytes) from cache) <= 4096 and (select sum(bytes) from cache) =
 (select value from meta where key = 'cache_bytes') as clean"
out_has '"clean":1'
run 0 run fill 'and now' --json
json '$.cache_hit' 1
