#!/usr/bin/env bash
# Both engines, a prediction and a verdict on an accelerator, within eight minutes whatever hangs.
usage='usage: benchmarks/gpu.sh [--small]

Runs on the device that jax finds, with the jax that is there (0.10 or later) and this checkout on
PYTHONPATH; nothing is downloaded. Each step is a process of its own with a time limit; one that
fails does not stop the others.

  --small       sizes for two cores of a CPU: a test of the script itself
  PYTHON=...    the Python to use (default: the first of the usual ones that has jax)
  OUT=...       folder of the results (default: gpu-results), which are added to as they come:
                results.txt, results.jsonl (a JSON object a line), and STEP.log (stderr of a step)

Exit code: 0, or the sum of what failed: 1 law, 2 engines, 4 predict, 8 verify, 16 same, 32 device
(no accelerator, no jax, or one below 0.10); 64 a bad option.'
set -u

small=()
for option in "$@"; do
  case $option in
    --small) small=(--small) ;;
    -h | --help) echo "$usage"; exit 0 ;;
    *) echo "gpu.sh: option=$option; accepted: --small, --help" >&2; exit 64 ;;
  esac
done

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
out=${OUT:-gpu-results}
{ mkdir -p "$out" && out=$(cd "$out" && pwd) && touch "$out/results.txt"; } 2> /dev/null ||
  { echo "gpu.sh: OUT=$out; accepted: a folder that can be written" >&2; exit 64; }
cd "$root" || exit 64
command -v timeout > /dev/null || { echo "gpu.sh: timeout (coreutils) is missing" >&2; exit 64; }

TOTAL=465   # seconds for all; the rest of eight minutes is for what does not end when told to
GRACE=5     # from being told to end until it is killed
declare -A RESERVED=([device]=40 [law]=120 [engines]=110 [predict]=75 [verify]=70 [same]=40)
declare -A CODE=([law]=1 [engines]=2 [predict]=4 [verify]=8 [same]=16 [device]=32)
later=(device law engines predict verify same)
failed=0
names=""
SECONDS=0

say() { echo "$*" | tee -a "$out/results.txt"; }

has() { timeout -k 1 10 "$1" -c "import importlib.util as u, sys; sys.exit(u.find_spec('$2') is None)" 2> /dev/null; }

find_python() {
  local one
  for one in python3 python python3.13 python3.12 python3.11 "$root/.venv/bin/python" \
    /opt/venv/bin/python /opt/conda/bin/python /usr/local/bin/python3 /usr/bin/python3; do
    if command -v "$one" > /dev/null && has "$one" jax; then echo "$one"; return; fi
  done
  echo python3
}

# step NAME COMMAND...: run it within what is left of the time when the steps after it have theirs
step() {
  local name=$1 reserve=0 limit began=$SECONDS code pid one shown
  shift
  later=("${later[@]:1}")
  for one in "${later[@]}"; do reserve=$((reserve + RESERVED[$one])); done
  limit=$((TOTAL - SECONDS - reserve - GRACE))
  [ "$limit" -gt 0 ] || limit=1
  say "== $name (at most $limit s)"
  shown=$(wc -c < "$out/results.txt")
  # a file, not a pipe: a process that cannot be killed must not hold up what reads from it
  timeout -k "$GRACE" "$limit" "$@" --seconds "$((limit * 4 / 5))" \
    >> "$out/results.txt" 2>> "$out/$name.log" < /dev/null &
  pid=$!
  while kill -0 "$pid" 2> /dev/null && [ $((SECONDS - began)) -le $((limit + GRACE)) ]; do sleep 0.2; done
  if kill -0 "$pid" 2> /dev/null; then code=137; else wait "$pid"; code=$?; fi
  tail -c +$((shown + 1)) "$out/results.txt"
  case $code in
    0) say "== $name: done in $((SECONDS - began)) s" ;;
    124 | 137) say "== $name: stopped after $((SECONDS - began)) s; what came until then stands above" ;;
    *) say "== $name: failed ($code) after $((SECONDS - began)) s: $(tail -n 1 "$out/$name.log" | cut -c -200)" ;;
  esac
  [ "$code" -eq 0 ] || { failed=$((failed + CODE[$name])); names="$names $name"; }
  return "$code"
}

python=${PYTHON:-$(find_python)}
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
if ! has "$python" jaxtyping; then
  # annotations alone need it
  export PYTHONPATH="$PYTHONPATH:$here/stand_ins"
  say "jaxtyping is missing: benchmarks/stand_ins is in its place"
fi
# of this run alone: a benchmark looks at a program's memory by compiling it again
programs=$(mktemp -d) && trap 'rm -rf "$programs"' EXIT
export JAX_COMPILATION_CACHE_DIR=$programs JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0.01
common=(--out "$out")

say "== $(date -u +%FT%TZ) benchmarks/gpu.sh ${small[*]-}, $python"
step device "$python" "$here/gpu.py" device "${common[@]}" "${small[@]}"
[ $? -ne 3 ] || small=(--small)
step law "$python" "$here/gpu.py" law "${common[@]}" "${small[@]}"
quick=(--widths 512 4096 32768)
[ ${#small[@]} -eq 0 ] || quick=(--quick --widths 512)
step engines "$python" "$here/engines.py" --lines "$out/results.jsonl" "${quick[@]}"
step predict "$python" "$here/gpu.py" predict "${common[@]}" "${small[@]}"
step verify "$python" "$here/gpu.py" verify "${common[@]}" "${small[@]}"
step same "$python" "$here/gpu.py" same "${common[@]}" "${small[@]}"
say "== all in $SECONDS s; failed:${names:- none} (exit code $failed)"
exit "$failed"
