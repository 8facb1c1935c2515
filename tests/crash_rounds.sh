#!/bin/sh
# kill -9 of agentctl at random instants, in mid tool call and in mid stream: ROUNDS times of one
# `run`, then ROUNDS / 5 times of a crowd of six (run, run -d, work, resume, cancel), half of them.
#
# The server plays an OpenAI endpoint that answers 400 to a history in which a tool call has no
# result; the tool writes down the effect id of each time it acts. After each kill:
#   - the file is clean,
#   - the next turn on the session is answered,
#   - no effect id was acted on twice,
# and of the crowd, once everything that is open was driven to its end:
#   - what was answered or queued is there, and what was answered is still a success,
#   - no run is open, none has failed but those whose effect was unknown when their session went on,
#   - a session's turns stand in the order of their runs.
# Seeds are printed: SEED=n repeats a run of the script.
set -u
: "${AGENTCTL:?}" "${SCRIPTED:?}"
ROUNDS=${ROUNDS:-50}
SEED=${SEED:-$(od -An -N2 -tu2 /dev/urandom | tr -d ' ')}
dir=$(mktemp -d "${TMPDIR:-/tmp}/agent-crash.XXXXXX") || exit 1
trap 'kill $server 2>/dev/null; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
export AGENTCTL_DB="$dir/agent.db" OPENAI_API_KEY=test TMPDIR="$dir"
echo "seed $SEED, $ROUNDS rounds"

fail() {
    echo "FAILED in round $round: $*" >&2
    for f in answer.out answer.err check.out; do [ -s "$dir/$f" ] && sed "s/^/    $f: /" "$dir/$f" >&2; done
    "$AGENTCTL" list runs -n 5 >&2
    exit 1
}

"$SCRIPTED" --chat --port-file "$dir/port" --delay 3 --piece-delay 1 --split 12 &
server=$!
round=0
for i in 1 2 3 4 5 6 7 8 9 10; do [ -s "$dir/port" ] && break; sleep 0.1; done
port=$(cat "$dir/port") || fail 'the server did not start'

# Acts (writes the id), then takes its time, so that a kill may come before, between and after.
cat >"$dir/act" <<'END'
#!/bin/sh
echo "$AGENT_EFFECT_ID" >>"$TMPDIR/acted"
sleep 0.05
echo done
END
chmod +x "$dir/act"
"$AGENTCTL" tool add act --effect effect --exec "$dir/act" 2>/dev/null || fail 'tool add'
"$AGENTCTL" create demo -m openai:scripted --base-url "http://127.0.0.1:$port/v1" -t act -t calc 2>/dev/null ||
    fail 'create'
: >"$dir/acted"

random=$SEED
next_ms() { # 0..179, the same for the same seed
    random=$(((random * 1103515245 + 12345) % 2147483648))
    ms=$((random / 65536 % 180))
}

while [ $round -lt "$ROUNDS" ]; do
    round=$((round + 1))
    next_ms
    prompt="/tool act {}
/tool calc {\"expression\": \"$round+1\"}"
    [ $((round % 3)) = 0 ] && prompt="tell me a story that is long enough to be cut, number $round"
    "$AGENTCTL" run demo "$prompt" -S crash >/dev/null 2>&1 &
    pid=$!
    sleep "$(printf '0.%03d' $ms)"
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    "$AGENTCTL" db check >"$dir/check.out" 2>&1 || fail "db check after a kill at $ms ms"
    "$AGENTCTL" run demo "round $round" -c >"$dir/answer.out" 2>"$dir/answer.err" || fail "no answer after a kill at $ms ms"
    grep -q "round $round" "$dir/answer.out" || fail 'the answer is not to this turn'
    twice=$(sort "$dir/acted" | uniq -d)
    [ -z "$twice" ] || fail "an effect happened twice: $twice"
done

# --- a crowd

pick() { # N: sets $picked, 0 .. N-1
    random=$(((random * 1103515245 + 12345) % 2147483648))
    picked=$((random / 65536 % $1))
}

number() { # QUERY, whose one column is named n
    "$AGENTCTL" sql "$1" --jsonl | sed -n 's/^{"n":\([0-9]*\)}$/\1/p'
}

# member I: starts one; its PID is $!, what it is is noted in $dir/member.I
member() {
    pick 4
    session=crowd-$picked
    pick 8
    echo "$picked" >"$dir/member.$1"
    : >"$dir/out.$1"
    case $picked in
    0 | 1 | 2) "$AGENTCTL" run demo "$prompt" -S $session --jsonl >"$dir/out.$1" 2>"$dir/err.$1" & ;;
    3 | 4) "$AGENTCTL" run -d demo "$prompt" -S $session >"$dir/out.$1" 2>"$dir/err.$1" & ;;
    5) "$AGENTCTL" work --until-idle >"$dir/out.$1" 2>"$dir/err.$1" & ;;
    6) "$AGENTCTL" resume --all >"$dir/out.$1" 2>"$dir/err.$1" & ;;
    *)
        pick "$last"
        "$AGENTCTL" cancel $((picked + 1)) >"$dir/out.$1" 2>"$dir/err.$1" &
        ;;
    esac
}

# left I CODE: it ended, killed or by itself; what it had acknowledged is noted
left() {
    case $2 in
    0 | 1 | 2 | 3 | 4 | 130 | 137) ;;
    *) fail "member $1, of kind $(cat "$dir/member.$1"), answered $2: $(cat "$dir/err.$1")" ;;
    esac
    case $(cat "$dir/member.$1") in
    0 | 1 | 2) sed -n 's/.*"type":"run.end","run":\([0-9]*\).*"status":"succeeded".*/\1/p' "$dir/out.$1" >>"$dir/answered" ;;
    3 | 4) grep '^[0-9][0-9]*$' "$dir/out.$1" >>"$dir/queued" ;;
    esac
}

is_none() { # QUERY WHAT: it has no rows
    rows=$("$AGENTCTL" sql "$1" --jsonl 2>"$dir/check.out") || fail "sql: $1"
    [ -z "$rows" ] || fail "$2: $rows"
}

settle() {
    for try in 1 2 3 4 5 6 7 8 9; do
        "$AGENTCTL" work --until-idle >/dev/null 2>"$dir/check.out" || fail 'work'
        waiting=$("$AGENTCTL" list runs --status waiting --names)
        [ -z "$waiting" ] && break
        for id in $waiting; do "$AGENTCTL" deny "$id" >/dev/null 2>&1; done
    done
    "$AGENTCTL" db check >"$dir/check.out" 2>&1 || fail 'db check'
    twice=$(sort "$dir/acted" | uniq -d)
    [ -z "$twice" ] || fail "an effect happened twice: $twice"
    is_none "SELECT id, status FROM run WHERE status IN ('queued', 'running', 'waiting')" 'still open'
    is_none "SELECT id, error FROM run WHERE status = 'failed' AND error NOT LIKE 'closed by the session%'" 'failed'
    is_none 'SELECT b.session_id, b.seq FROM v_messages a JOIN v_messages b ON b.session_id = a.session_id
             AND b.seq = a.seq + 1 WHERE b.run_id < a.run_id' 'out of order'
    for id in $(cat "$dir/answered"); do
        [ "$(number "SELECT count(*) AS n FROM run WHERE id = $id AND status = 'succeeded'")" = 1 ] || fail "run $id was answered"
    done
    for id in $(cat "$dir/queued"); do
        [ "$(number "SELECT count(*) AS n FROM run WHERE id = $id")" = 1 ] || fail "run $id was queued"
    done
    : >"$dir/answered"
    : >"$dir/queued"
}

: >"$dir/answered"
: >"$dir/queued"
crowds=$((ROUNDS / 5))
answers=0
while [ $round -lt $((ROUNDS + crowds)) ]; do
    round=$((round + 1))
    last=$(number 'SELECT max(id) AS n FROM run')
    prompt="/tool act {}
/tool calc {\"expression\": \"$round+2\"}"
    pids=
    for i in 1 2 3 4 5 6; do
        member $i
        pids="$pids $!"
    done
    next_ms
    sleep "$(printf '0.%03d' $ms)"
    i=0
    for pid in $pids; do
        i=$((i + 1))
        [ $((i % 2)) = $((round % 2)) ] && kill -9 "$pid" 2>/dev/null
    done
    i=0
    for pid in $pids; do
        i=$((i + 1))
        wait "$pid" 2>/dev/null
        left $i $?
    done
    "$AGENTCTL" db check >"$dir/check.out" 2>&1 || fail "db check after a crowd was killed at $ms ms"
    if [ $((round % 10)) = 0 ] || [ $round = $((ROUNDS + crowds)) ]; then
        answers=$((answers + $(cat "$dir/answered" "$dir/queued" | wc -l)))
        settle
    fi
done

acted=$(sort -u "$dir/acted" | wc -l)
echo "$ROUNDS rounds, $crowds crowds with $answers acknowledgements, $acted effects, none twice"
[ "$acted" -gt 0 ] || fail 'the tool never acted: the test proves nothing'
