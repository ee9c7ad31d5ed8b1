#!/usr/bin/env bash
# A real Slurm on one node, on loopback: munge, slurmctld, slurmd. Usage: single_node.sh start FOLDER | stop FOLDER
# Needs root and the packages slurm-wlm and munge.
set -euo pipefail

folder=$2
# jobs do not inherit SLURM_CONF from the executor, so the file must be where Slurm looks for it
conf=/etc/slurm/slurm.conf
mark="# written by handgap's test"

start() {
    if [ -f "$conf" ] && ! grep -q "$mark" "$conf"; then
        echo "$conf exists: this machine has a Slurm of its own" >&2
        return 1
    fi
    mkdir -p "$folder"/{state,spool} /etc/slurm /run/munge /var/log/munge /var/lib/munge
    [ -f /etc/munge/munge.key ] || { dd if=/dev/urandom of=/etc/munge/munge.key bs=1024 count=1 status=none; }
    chown -R munge:munge /etc/munge /etc/slurm /run/munge /var/log/munge /var/lib/munge
    chmod 400 /etc/munge/munge.key
    chmod 755 /run/munge
    pgrep -x munged >/dev/null || su -s /bin/sh munge -c munged
    cat >"$conf" <<EOF
$mark
ClusterName=handgap
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
AuthType=auth/munge
CryptoType=crypto/munge
SlurmUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0
NodeName=$(hostname -s) NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo) State=UNKNOWN
PartitionName=handgap Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=NO
EOF
    slurmctld -c
    slurmd
    for _ in $(seq 60); do
        sinfo -h -o %T 2>/dev/null | grep -q idle && return 0
        sleep 0.5
    done
    tail -n 20 "$folder"/*.log >&2
    return 1
}

stop() {
    for daemon in slurmd slurmctld; do
        [ -f "$folder/$daemon.pid" ] && kill "$(cat "$folder/$daemon.pid")" || true
    done
    if grep -qs "$mark" "$conf"; then rm "$conf"; fi
}

"$1"
