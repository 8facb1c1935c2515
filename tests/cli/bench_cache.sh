# A trace through the front cache: figures that a hand can compute, and files that are none.
. "${0%/*}/lib.sh"

# Two objects fit. LRU hits at the third, fifth and tenth request; FIFO at the third and the tenth;
# who knows the future keeps 1 and 2 and lets 3 and 4 pass: six hits.
keys='1 2 1 3 1 2 4 1 2 1'

{
    echo 'time,key,bytes'
    time=0
    for key in $keys; do
        time=$((time + 1))
        echo "$time,$key,100"
    done
} >ten.csv

# Each byte of a record: u32 time, u64 key (its highest byte is 128), u32 bytes, i64 next (-1)
record() {
    printf "\\$(printf %03o "$1")\\000\\000\\000\\$(printf %03o "$2")\\000\\000\\000\\000\\000\\000\\200"
    printf "\\$(printf %03o "$3")\\000\\000\\000\\377\\377\\377\\377\\377\\377\\377\\377"
}
time=0
for key in $keys; do
    time=$((time + 1))
    record "$time" "$key" 100
done >ten.bin

for file in ten.csv ten.bin; do
    note "lru on $file"
    run 0 bench cache --trace $file --policy lru --bytes 200 --json
    err_empty
    out_lines 1
    json_valid
    json '$.policy' lru
    json '$.bytes' 200
    json '$.requests' 10
    json '$.hit_ratio' 0.3
    json '$.byte_hit_ratio' 0.3
    json '$.cost_hit_ratio' 0.3
    json '$.belady_hit_ratio' 0.6
    json '$.evictions' 5
    json_type '$.metadata_bytes_per_entry' real
    json_type '$.ns_per_request' real
    note "fifo on $file"
    run 0 bench cache --trace $file --policy fifo --bytes 200 --json
    json '$.hit_ratio' 0.2
    json '$.evictions' 6
    json '$.belady_hit_ratio' 0.6
done

note 'room for all: only the first request of each misses'
for policy in lruk-adaptive lruk lru fifo s3fifo gdsf; do
    run 0 bench cache --trace ten.csv --policy $policy --bytes 400 --json
    json '$.policy' $policy
    json '$.hit_ratio' 0.6
    json '$.evictions' 0
done
note 'none keeps nothing'
run 0 bench cache --trace ten.csv --policy none --bytes 400 --json
json '$.hit_ratio' 0
json '$.belady_hit_ratio' 0.6
run 0 bench cache --trace ten.csv --bytes 0 --json
json '$.policy' lruk-adaptive
json '$.hit_ratio' 0
json '$.belady_hit_ratio' 0

note 'LRU-K of K 1 is LRU, of K 2 it is not'
run 0 bench cache --trace ten.csv --policy lruk -k 1 --bytes 200 --json
json '$.hit_ratio' 0.3
run 0 bench cache --trace ten.csv --policy lruk -k 2 --bytes 200 --json
json '$.hit_ratio' 0.4

note 'sizes: of 600 bytes asked for, two times 100 are there'
printf '1,small,100\n2.5,large,300\n3,small,100\n4,small,100\n' >sizes.csv
run 0 bench cache --trace sizes.csv --policy lru --bytes 1KB
out_has 'hit ratio                 0.5000'
out_has 'byte hit ratio            0.3333'
out_has 'requests                  4'
note 'what is larger than the cache pushes nothing out'
run 0 bench cache --trace sizes.csv --policy lru --bytes 299 --json
json '$.hit_ratio' 0.5
json '$.evictions' 0

note 'needs no database'
[ ! -e "$AGENTCTL_DB" ] || bad 'it made one'

note 'bad ones'
run 3 bench cache --trace nowhere.csv --bytes 1MB
says nowhere.csv
cp ten.csv ten.txt
run 2 bench cache --trace ten.txt --bytes 1MB
says 'ten.txt' '.csv'
head -c 239 ten.bin >torn.bin
run 2 bench cache --trace torn.bin --bytes 1MB
says 'record 10 has 23 bytes' '.csv'
printf '1,a,10\n2,b\n' >bad.csv
run 2 bench cache --trace bad.csv --bytes 1MB
says 'line 2' 'whole numbers'
: >empty.csv
run 2 bench cache --trace empty.csv --bytes 1MB
says 'no request'
run 2 bench cache --trace ten.csv
says '--bytes' '64MB'
run 2 bench cache --bytes 1MB
says '--trace'
run 2 bench cache --trace ten.csv --bytes much
says much 64MB
run 2 bench cache --trace ten.csv --bytes 1MB --policy best
says best
run 2 bench cache --trace ten.csv --bytes 1MB -k 5
says 5
run 2 bench
