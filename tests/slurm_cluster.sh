#!/usr/bin/env bash
# A SLURM cluster of this machine alone, controller and node, for tests; root on Debian or Ubuntu:
#
#   apt-get install slurm-wlm munge
#   bash tests/slurm_cluster.sh start DIR   # prints the SLURM_CONF that sbatch and squeue need
#   bash tests/slurm_cluster.sh stop DIR
#
# DIR holds its state and logs. Two jobs run at a time, on one core, whatever the machine has.
set -euo pipefail
action=${1:?start or stop}
dir=${2:?give a folder for the state}
case $action in
stop)
  for name in slurmd slurmctld munged; do
    test -f "$dir/$name.pid" && kill "$(cat "$dir/$name.pid")" 2> /dev/null || true
  done
  exit 0
  ;;
esac
mkdir -p "$dir/state" "$dir/spool"
dir=$(cd "$dir" && pwd)
host=$(hostname -s)
port=$((20000 + RANDOM % 20000))
head -c 1024 /dev/urandom > "$dir/munge.key"
chmod 400 "$dir/munge.key"
chmod 755 "$dir"
cat > "$dir/slurm.conf" << END
ClusterName=tests
SlurmctldHost=$host
SlurmUser=root
SlurmctldPort=$port
SlurmdPort=$((port + 1))
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket
CryptoType=crypto/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
MailProg=/bin/true
JobRequeue=1
KillWait=30
SchedulerParameters=sched_interval=1,batch_sched_delay=0,defer
NodeName=$host CPUs=2 RealMemory=6000 State=UNKNOWN
PartitionName=tests Nodes=$host Default=YES MaxTime=INFINITE State=UP
END
export SLURM_CONF=$dir/slurm.conf
munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" \
  --pid-file="$dir/munged.pid" --log-file="$dir/munged.log" --seed-file="$dir/munge.seed"
slurmctld -c
# Jobs see one core, the first that this shell may use: with more they would add up in another order
# than runs that have one each.
cores=$(taskset -cp $$)
cores=${cores##*: }
taskset -c "${cores%%[,-]*}" slurmd
for _ in $(seq 30); do
  if sinfo --noheader --format=%T 2> /dev/null | grep -q idle; then
    echo "$SLURM_CONF"
    exit 0
  fi
  sleep 1
done
echo "the cluster did not come up; its logs are in $dir" >&2
tail -n 5 "$dir"/*.log >&2
exit 1
