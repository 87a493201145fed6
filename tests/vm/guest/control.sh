# Does the power-loss test see what it is there for: records acknowledged after fdatasync (vda, vdb) and without it
# (vdc, vdd). The host replays both.
. /vm/logged.sh

record()
{
	must "$1: the file system is on dm-log-writes" logged_start "$2" "$3"
	logged_mark begin
	record_writer "$1" /mnt/records "$vm_records" | mark_acks logged /tmp/acks
	must "$1: every record is acknowledged" [ "$(tail -n 1 /tmp/acks)" = "$vm_records" ]
	must "$1: the log is closed" logged_stop
}
record sync /dev/vda /dev/vdb
record nosync /dev/vdc /dev/vdd
