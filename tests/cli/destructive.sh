# What removes asks first; without a terminal it needs -y; --dry-run only tells.
. "${0%/*}/lib.sh"

run 0 create demo
run 0 create other
run 0 run demo hello -S talk
run 0 run demo again -S talk
run 0 memory set demo k v

note 'nothing happens without -y'
run 2 rm demo
says 'demo' '--dry-run'
err_has 'sessions (1)'
err_has 'runs (2)'
run 2 session rm demo talk
says -y
run 0 show demo

note 'a dry run tells and does nothing'
run 0 rm demo --dry-run
err_has 'would remove'
run 0 rm demo --dry-run --json
json '$.sessions' 1
json '$.runs' 2
json '$.memory' 1
json '$.removed' 0
run 0 session rm demo talk --dry-run
run 0 session show demo talk

note 'a session'
run 0 session rm demo talk -y
run 3 session show demo talk
run 0 list messages --json
out_is '[]'

note 'an agent with all it has'
run 0 run demo hello
run 0 rm -y demo
run 3 show demo
for list in sessions runs messages steps memory; do
    run 0 list $list --json
    out_is '[]'
done
run 0 list --names
out_is other
run 0 db check

note 'what is not there'
run 3 rm demo -y
says demo
run 3 session rm 99 -y

note '-y is known to every verb'
run 0 list -y
run 0 run other hi -y
