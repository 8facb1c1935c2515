# What people get wrong: each has an error that names the thing, a remedy, an exit code that stays,
# and leaves nothing half-written.
. "${0%/*}/lib.sh"

run 0 create demo

note 'unknown words'
run 2 lst
says lst "did you mean 'agentctl list'?"
run 2 list --jsn
says jsn 'did you mean --json?'
run 2 run demo hi --timeot 3s
says timeot 'did you mean --timeout?'
run 2 -Z
says "'-Z'"
run 2 tool ad
says ad "did you mean 'agentctl tool add'?"
run 2 list agnts
says agnts 'did you mean agents'
run 3 run dmo hi
says dmo "did you mean 'demo'?"
run 3 run zzzzzz hi
says zzzzzz 'demo'
run 3 run demo hi -S '#99'
says 99
run 3 session show demo nowhere
says nowhere
run 3 show 99
says 99
run 3 cancel 99
says 99
run 2 create x -m nothing:here
says nothing
run 2 create x -m modelonly
says modelonly

note 'bad names'
for name in 'a b' '.hidden' '-' 'a/b' '' "$(printf 'x%.0s' 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0)"; do
    run 2 create "$name"
    grep -q '^agentctl: error: ' err || bad "no error for the name '$name'"
done
run 2 create "$(printf 'esc\033[2Jape')"
grep -q "$(printf '\033')" err && bad 'an escape sequence reached the terminal'

note 'values'
run 2 run demo hi --timeout soon
says soon '10s'
run 2 run demo hi -p urgent
says urgent 'high|normal|low'
run 2 list -n many
says many
run 2 run demo hi -o novalue
says novalue
run 2 run demo hi -o chunks=many
says chunks
run 2 run demo
says empty
run 2 run demo ''
says empty
run 2 run demo one two
says two
run 2 run demo hi -S a -c
says exclude
run 2 sql ''

note 'text that is not UTF-8'
run 2 run demo "$(printf 'a\377b')"
says UTF-8
run 2 create x -s "$(printf 'a\377b')"
says UTF-8

note 'a prompt over the limit'
head -c 1048577 /dev/zero | tr '\0' a >large
"$AGENTCTL" run demo - <large >out 2>err
[ $? = 6 ] || bad 'a prompt over the limit does not answer 6'
says 1048576
head -c 1048576 large >fits
"$AGENTCTL" run demo - -o answer=ok <fits >out 2>err || bad 'a prompt at the limit is refused'

note 'files that cannot be read'
run 3 run demo @nowhere
says nowhere @@
run 3 create x -f nowhere.json
says nowhere.json
run 1 run demo @.
says directory

note 'an agent file'
printf '{\n  "name": "x",\n  "model": offline\n}\n' >bad.json
run 2 create -f bad.json
says 'line 3'
err_has bad.json
err_has column
printf '{"name": "x", "modell": "offline:demo"}' >bad.json
run 2 create -f bad.json
says modell
run_in 2 '{"name": 3}' create -f -
run_in 2 '{}' create -f -
says name

note 'nothing of that is there'
run 0 list --names
out_is demo

note 'which file'
run 3 --db nowhere.db list
says nowhere.db 'create'
[ -e nowhere.db ] && bad 'a reading verb made the file'
run 3 --db no/such/folder/x.db create a
says no/such/folder
run 3 --db nowhere.db edit demo -s x
run 8 --db . list
err_has "'.'"
printf 'this is a text and no database, long enough to be looked at.%.0s\n' 1 2 3 4 5 6 7 8 9 >text.db
cp text.db before.db
run 8 --db text.db list
says text.db
run 8 --db text.db create x
cmp -s text.db before.db || bad 'a file that is no database was written to'

note 'which file, told by where the name came from'
(unset AGENTCTL_DB; "$AGENTCTL" list >out 2>err; [ $? = 3 ] || bad 'no file anywhere does not answer 3')
err_has "$HOME/.local/share/agentctl/agent.db"
AGENTCTL_DB=$dir/none.db "$AGENTCTL" list >out 2>err
err_has '$AGENTCTL_DB'

note 'a file that may not be written'
if [ "$(id -u)" != 0 ]; then
    cp "$AGENTCTL_DB" readonly.db && chmod 400 readonly.db
    run 8 --db readonly.db run demo hi
    says readonly.db
fi

note 'a newer schema is left untouched'
if command -v sqlite3 >/dev/null; then
    cp "$AGENTCTL_DB" newer.db
    sqlite3 newer.db 'pragma user_version = 9999' >/dev/null
    cp newer.db before.db
    run 8 --db newer.db run demo hi
    says 9999
    cmp -s newer.db before.db || bad 'a newer file was changed'

    note 'a database of somebody else'
    sqlite3 other.db 'create table t (x); pragma application_id = 1; insert into t values (1)'
    cp other.db before.db
    run 8 --db other.db create demo
    says other.db
    cmp -s other.db before.db || bad 'a strange file was changed'
fi

note 'a damaged page'
cp "$AGENTCTL_DB" damaged.db
size=$(stat -c %s damaged.db)
i=8192
while [ "$i" -lt "$size" ]; do
    printf 'garbage garbage garbage' | dd of=damaged.db bs=1 seek="$i" conv=notrunc 2>/dev/null
    i=$((i + 4096))
done
run 8 --db damaged.db db check
grep -q '^agentctl: error: ' err || bad 'a damaged file has no error'

note 'a full disk'
if (ulimit -f 400) 2>/dev/null; then
    cp "$AGENTCTL_DB" full.db
    head -c 1000000 /dev/zero | tr '\0' b >large
    (trap '' XFSZ; ulimit -f 400; "$AGENTCTL" --db full.db run demo - <large >/dev/null 2>"$dir/full.err")
    code=$?
    [ "$code" = 8 ] || { cp "$dir/full.err" err; bad "a full disk answers $code, not 8"; }
    run 0 --db full.db run demo hi
    run 0 --db full.db db check
fi

note 'a file that is refused gets nothing beside it'
echo 'no database' >refused.db
run 8 --db refused.db run demo hi
[ "$(echo refused.db*)" = refused.db ] || bad "there is more: $(echo refused.db*)"
