# run --each: one result for each line, each line run once, whatever happens in between.
. "${0%/*}/lib.sh"

runs() { "$AGENTCTL" sql 'SELECT count(*) AS n FROM run' --jsonl | tr -dc 0-9; }
runs_are() { [ "$(runs)" = "$1" ] || bad "there are $(runs) runs, not $1"; }
# The values of a number's key, in the order of the file, on one line.
numbers() { sed -n "s/.*\"$1\":\([0-9]*\),.*/\1/p" "$2" | tr '\n' ' '; }
numbers_are() { [ "$(numbers "$1" "$2")" = "$3 " ] || bad "$1 in $2 is $(numbers "$1" "$2"), not $3"; }
prompts() { # COUNT [FROM]
    seq "${2:-1}" "$(($1 + ${2:-1} - 1))" | sed 's/.*/{"prompt":"say &","id":"k&"}/'
}
# FILE COUNT: complete lines of results, one for each line, in order
is_complete() {
    numbers_are line "$1" "$(seq "$2" | tr '\n' ' ' | sed 's/ $//')"
    [ "$(tail -c 1 "$1" | od -An -tx1 | tr -d ' ')" = 0a ] || bad "$1 has a torn line"
    [ "$(sed -n 's/.*"run":\([0-9]*\),.*/\1/p' "$1" | sort -un | wc -l)" = "$2" ] || bad "$1 has a run twice"
}

run 0 create demo
run 0 create slow -o latency_ms=60

note 'without --out the results are what is printed'
prompts 3 >three
run 0 run demo --each three
out_lines 3
out_has '{"id":"k1","line":1,"run":'
out_has '"output":"[offline:demo] turn 1. You said: say 3."'
err_has '3 lines: 3 succeeded, 0 failed'
runs_are 3
run 0 run demo --each three -j 1
runs_are 6

note 'strings, objects, blank lines, no newline at the end, Windows ends'
printf '\357\273\277"one"\r\n\n   \n{"prompt":"two","id":5}\n"three"' >forms
run 0 run demo --each forms
numbers_are line out '1 4 5'
out_has '{"id":5,"line":4'
out_has 'You said: three.'

note 'an empty file is a batch without lines'
: >empty
run 0 run demo --each empty --out empty.out
[ -f empty.out ] && [ ! -s empty.out ] || bad 'empty.out is not there and empty'
run 0 run demo --each empty
out_empty
run 0 run demo --each empty --json
out_has '"lines":0'

note 'wrong lines are told with their number and stop nothing'
before=$(runs)
cat >wrong <<'END'
{"prompt":"good","id":"a"}
no json
{"prompt":"x","promt":"y"}
{"id":"b"}
{"prompt":"again","id":"a"}
{"prompt":""}
[1,2]
{"prompt":"p","session":[]}
{"prompt":"p","id":1.5}
{"prompt":"p","session":"#999"}
"last"
END
run 1 run demo --each wrong --out wrong.out
out_empty
for n in 2 3 4 5 6 7 8 9 10; do err_has "agentctl: wrong:$n: "; done
err_has '11 lines: 2 succeeded, 9 failed'
err_has 'wrong:3: unknown key "promt"'
err_has "wrong:5: the id \"a\" is line 1's already"
numbers_are line wrong.out '1 2 3 4 5 6 7 8 9 10 11'
grep -q '^{"id":"a","line":5,"run":null,"session":null,"status":"failed","output":null,"error":{"code":"EEXISTS"' wrong.out ||
    bad 'line 5 has no error'
runs_are $((before + 2))

note 'what is complete is left alone'
cp wrong.out wrong.copy
run 0 run demo --each wrong --out wrong.out
cmp -s wrong.out wrong.copy || bad 'wrong.out was changed'
runs_are $((before + 2))

note 'the results are there again where their file was lost'
before=$(runs)
prompts 200 >many
run 0 run demo --each many -j 16 --out many.out
runs_are $((before + 200))
is_complete many.out 200
cp many.out many.copy
rm many.out
run 0 run demo --each many -j 16 --out many.out
runs_are $((before + 200))
is_complete many.out 200
[ "$(numbers run many.out)" = "$(numbers run many.copy)" ] || bad 'other runs'

note 'a torn last line is written again'
head -c 20000 many.copy >many.out
run 0 run demo --each many -j 16 --out many.out
is_complete many.out 200
err_has 'were there already'
printf '{"id":"k' >many.out
run 0 run demo --each many --out many.out
is_complete many.out 200
runs_are $((before + 200))

note 'another input does not throw results away'
prompts 201 >more
run 2 run demo --each more --out many.out
says 'holds the results of another batch' '--restart'
is_complete many.out 200
echo 'my notes' >notes
run 2 run demo --each more --out notes
[ "$(cat notes)" = 'my notes' ] || bad 'notes was written'
printf 'my notes' >notes
run 2 run demo --each more --out notes
[ "$(cat notes)" = 'my notes' ] || bad 'notes was written'
run 2 run demo --each more --out more
says 'is the input itself'
run 2 run demo --each more --out .
run 3 run demo --each more --out no/such/folder
says 'there is no folder'
run 3 run demo --each no-such-file
says "there is no file 'no-such-file'"
run 3 run demos --each more --out other.out
says "there is no agent 'demos'"
[ ! -e other.out ] || bad 'other.out was made'

note '--restart begins anew'
before=$(runs)
run 0 run demo --each many -j 8 --out many.out --restart
runs_are $((before + 200))
is_complete many.out 200
[ "$(numbers run many.out)" != "$(numbers run many.copy)" ] || bad 'the same runs'
run 0 run demo --each many -j 8 --out many.out
runs_are $((before + 200))
cp many.copy many.out # as if cut off before the first new result
run 0 run demo --each many -j 8 --out many.out
runs_are $((before + 200))
is_complete many.out 200
[ "$(numbers run many.out)" != "$(numbers run many.copy)" ] || bad 'the old runs'

note '--unordered writes as they end'
{
    echo '{"prompt":"/tool nap {}","session":"s"}'
    prompts 40
} >mixed
"$AGENTCTL" tool add nap --exec 'sleep 0.5' --effect pure >out 2>err || bad 'tool add'
"$AGENTCTL" create napper -t nap >out 2>err || bad 'create'
run 0 run napper --each mixed -j 4 --unordered --out mixed.out
[ "$(sed -n '$s/.*"line":\([0-9]*\),.*/\1/p' mixed.out)" = 1 ] || bad 'the slow line is not the last one'
[ "$(numbers line mixed.out | tr ' ' '\n' | sort -n | grep .)" = "$(seq 41)" ] || bad 'lines are missing'
run 0 run napper --each mixed -j 4 --out mixed2.out
is_complete mixed2.out 41

note 'the lines of a session run in their order'
seq 15 | sed 's/.*/{"prompt":"n&","session":"talk"}/' >talk
run 0 run demo --each talk -j 8
[ "$(numbers session out | tr ' ' '\n' | sort -u | grep -c .)" = 1 ] || bad 'more than one session'
seq 15 | while read -r n; do sed -n "${n}p" out | grep -q "turn $n\. You said: n$n\." || echo "$n"; done >wrong_turns
[ ! -s wrong_turns ] || bad "turns out of order: $(tr '\n' ' ' <wrong_turns)"
run 0 run demo --each three -j 8 -S together
out_has 'turn 3.'

note '--max-failures stops'
before=$(runs)
run 0 create broken -o fail=400
prompts 50 >fifty
run 6 run broken --each fifty -j 1 --max-failures 3 --out broken.out
numbers_are line broken.out '1 2 3'
runs_are $((before + 3))
run 6 run broken --each fifty -j 1 --max-failures 2 --out broken.out
numbers_are line broken.out '1 2 3 4 5'
run 1 run broken --each fifty -j 8 --out broken.out
is_complete broken.out 50
runs_are $((before + 50))

note 'standard input'
before=$(runs)
run_in 0 '"a"
"b"' run demo --each -
out_lines 2
prompts 20 | "$AGENTCTL" run demo --each - --out stdin.out 2>err || bad 'from a pipe'
is_complete stdin.out 20
prompts 20 | "$AGENTCTL" run demo --each - --out stdin.out 2>err || bad 'from a pipe again'
err_has 'nothing to do'
runs_are $((before + 22))
{ echo '"first"'; sleep 0.4; echo '"second"'; } | "$AGENTCTL" run demo --each - -j 4 >out 2>err || bad 'from a slow pipe'
out_lines 2

note 'the sum and the lines as JSON'
run 0 run demo --each three --json
out_lines 1
out_has '"type":"batch.end"'
out_has '"lines":3,"skipped":0,"succeeded":3,"failed":0,"stopped":null'
run 0 run demo --each three --jsonl --out lines.out
cmp -s out lines.out || bad 'stdout and --out differ'

note 'what does not go together'
run 2 run demo prompt --each three
run 2 run demo --each three -c
run 2 run demo --each three -d
run 2 run demo --each three --idempotency-key k
run 2 run demo --each three --restart
run 2 run demo --each three -j 0
run 2 run demo --each three --max-failures 0

note 'a line and a prompt that are too long'
{
    echo '"before"'
    printf '"'; head -c 1100000 /dev/zero | tr '\0' x; echo '"'
    printf '"'; head -c 9000000 /dev/zero | tr '\0' x; echo '"'
    echo '"after"'
} >long
run 1 run demo --each long
numbers_are line out '1 2 3 4'
err_has 'long:2: the prompt has 1100000 bytes'
err_has 'long:3: the line has more than'
out_has 'You said: after.'

note 'only one writes'
run 0 create hanging -o latency_ms=60000
"$AGENTCTL" run hanging --each three -j 1 --out one.out 2>err &
other=$!
wait_for 5 sh -c "'$AGENTCTL' list runs --status running --names | grep ." || bad 'no run began'
run 9 run hanging --each three --out one.out
says 'another agentctl is writing'
kill -9 "$other"
wait "$other" 2>/dev/null
run 0 cancel "$("$AGENTCTL" list runs --status running --names)"
run 1 run hanging --each three --out one.out -j 3 --timeout 100ms
is_complete one.out 3

note '^C finishes what runs, and the same command goes on'
before=$(runs)
prompts 60 >sixty
for signal in INT TERM; do
    rm -f "$signal.out"
    # A background job of a shell ignores SIGINT; env resets it where it can.
    env --default-signal=INT "$AGENTCTL" run slow --each sixty -j 4 --out "$signal.out" 2>err &
    other=$!
    wait_for 5 test -s "$signal.out"
    kill -"$signal" "$other"
    wait "$other"
    code=$?
    case $signal in INT) expected=130 ;; *) expected=143 ;; esac
    [ "$code" = "$expected" ] || bad "SIG$signal: answered $code, not $expected"
    err_has 'the same command goes on'
    [ "$("$AGENTCTL" sql "SELECT count(*) AS n FROM run WHERE status IN ('queued','running')" --jsonl)" = '{"n":0}' ] ||
        bad "SIG$signal: runs were left"
    lines=$(wc -l <"$signal.out")
    [ "$lines" -lt 60 ] || bad "SIG$signal: it was not stopped"
    run 0 run slow --each sixty -j 16 --out "$signal.out"
    is_complete "$signal.out" 60
done
runs_are $((before + 120))

note 'a second ^C stops at once, and nothing is run twice'
before=$(runs)
run 0 create slower -o latency_ms=3000
env --default-signal=INT "$AGENTCTL" run slower --each three -j 4 --out twice.out 2>err &
other=$!
wait_for 5 sh -c "'$AGENTCTL' list runs --status running --names | grep ." || bad 'no run began'
kill -INT "$other"
wait_for 5 grep -q 'a second time stops at once' err || bad 'the first ^C is not told'
kill -INT "$other"
wait "$other"
[ $? = 130 ] || bad 'the second ^C does not answer 130'
runs_are $((before + 3))
run 0 run slower --each three -j 4 --out twice.out
is_complete twice.out 3
runs_are $((before + 3))

note 'kill -9 at any instant: every line once'
before=$(runs)
prompts 400 >victims
for round in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    delay=$(awk -v s="$$$round" 'BEGIN { srand(s); printf "%.3f", 0.01 + rand() * 0.2 }')
    timeout -s KILL "$delay" "$AGENTCTL" run slow --each victims -j 6 --out killed.out >out 2>err
    case $round in 7 | 14) rm -f killed.out ;; esac
done
run 0 run slow --each victims -j 64 --out killed.out
is_complete killed.out 400
runs_are $((before + 400))
[ "$("$AGENTCTL" sql "SELECT count(*) AS n FROM run WHERE status <> 'succeeded' AND agent_id = (SELECT id FROM agent WHERE name = 'slow')" --jsonl)" = '{"n":0}' ] ||
    bad 'runs that did not succeed'
[ "$(numbers run killed.out | tr ' ' '\n' | sort -u | grep -c .)" = 400 ] || bad 'a run stands twice'
run 0 db check

note 'twenty thousand lines'
before=$(runs)
prompts 20000 >large
run 0 run demo --each large -j 64 --out large.out --durability process
is_complete large.out 20000
runs_are $((before + 20000))

note 'a bar on a terminal, gone at the end'
if command -v script >/dev/null; then
    prompts 100 >hundred
    script -qec "stty cols 70; '$AGENTCTL' run slow --each hundred -j 10 --out bar.out" /dev/null </dev/null >out 2>err ||
        bad 'with a terminal'
    grep -q '\[#*-*\] *[0-9]*%  [0-9]* done, 0 failed' out || bad 'there is no bar'
    tr '\r' '\n' <out | grep -q 'agentctl: 100 lines: 100 succeeded' || bad 'there is no sum'
    is_complete bar.out 100
fi
