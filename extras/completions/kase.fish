# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_kase_global_optspecs
    string join \n v/version debug log= log-format= log-level= root= rootless= cgroup-manager= systemd-properties= trace= systemd-cgroup h/help
end

function __fish_kase_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_kase_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_kase_using_subcommand
    set -l cmd (__fish_kase_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c kase -n "__fish_kase_needs_command" -l log -d 'Write the log to a file instead of standard error; journald:IDENT and syslog:IDENT send it there, file: begins a name that looks like one of these' -r -F
complete -c kase -n "__fish_kase_needs_command" -l log-format -d 'Format of the log file' -r -f -a "text\t''
json\t''"
complete -c kase -n "__fish_kase_needs_command" -l log-level -d 'Least important level to log; on a standard error that is no terminal, info only when it is asked for' -r -f -a "trace\t''
debug\t''
info\t''
warn\t''
warning\t''
error\t''"
complete -c kase -n "__fish_kase_needs_command" -l root -d 'Directory of the containers\' state [default: /run/kase for root, $XDG_RUNTIME_DIR/kase for others]' -r -F
complete -c kase -n "__fish_kase_needs_command" -l rootless -d 'Adapt config.json to what an ordinary user can have' -r -f -a "auto\t''
true\t''
false\t''"
complete -c kase -n "__fish_kase_needs_command" -l cgroup-manager -d 'Who makes the containers\' cgroups' -r -f -a "systemd\t''
cgroupfs\t''
disabled\t''"
complete -c kase -n "__fish_kase_needs_command" -l systemd-properties -d 'Which org.systemd.property annotations are taken: those about the container\'s scope alone (resources, how it ends), or any' -r -f -a "scope\t''
any\t''"
complete -c kase -n "__fish_kase_needs_command" -l trace -d 'Write how long each step of create, run or exec takes, for chrome://tracing or Perfetto' -r -F
complete -c kase -n "__fish_kase_needs_command" -s v -l version -d 'Print the version'
complete -c kase -n "__fish_kase_needs_command" -l debug -d 'Log everything, like --log-level debug'
complete -c kase -n "__fish_kase_needs_command" -l systemd-cgroup -d 'Let systemd make the containers\' cgroups'
complete -c kase -n "__fish_kase_needs_command" -s h -l help -d 'Print help'
complete -c kase -n "__fish_kase_needs_command" -f -a "create" -d 'Create a container'
complete -c kase -n "__fish_kase_needs_command" -f -a "delete" -d 'Delete a container'
complete -c kase -n "__fish_kase_needs_command" -f -a "doctor" -d 'Check whether containers run on this host'
complete -c kase -n "__fish_kase_needs_command" -f -a "events" -d 'Show what a container uses'
complete -c kase -n "__fish_kase_needs_command" -f -a "exec" -d 'Run a program in a running container'
complete -c kase -n "__fish_kase_needs_command" -f -a "explain" -d 'Show what would become of a bundle here'
complete -c kase -n "__fish_kase_needs_command" -f -a "features" -d 'Show what kase supports'
complete -c kase -n "__fish_kase_needs_command" -f -a "gc" -d 'Remove what a crash or a reboot left'
complete -c kase -n "__fish_kase_needs_command" -f -a "integrate" -d 'Register kase with an engine, or take that out again'
complete -c kase -n "__fish_kase_needs_command" -f -a "kill" -d 'Send a signal to a container'
complete -c kase -n "__fish_kase_needs_command" -f -a "lint" -d 'Tell what is wrong or weak in a config.json'
complete -c kase -n "__fish_kase_needs_command" -f -a "list" -d 'List containers'
complete -c kase -n "__fish_kase_needs_command" -f -a "pause" -d 'Freeze a container'
complete -c kase -n "__fish_kase_needs_command" -f -a "ps" -d 'Show the processes of a container'
complete -c kase -n "__fish_kase_needs_command" -f -a "resume" -d 'Thaw a paused container'
complete -c kase -n "__fish_kase_needs_command" -f -a "run" -d 'Create and start a container'
complete -c kase -n "__fish_kase_needs_command" -f -a "spec" -d 'Write a config.json'
complete -c kase -n "__fish_kase_needs_command" -f -a "start" -d 'Start a created container'
complete -c kase -n "__fish_kase_needs_command" -f -a "state" -d 'Show the state of a container'
complete -c kase -n "__fish_kase_needs_command" -f -a "update" -d 'Change the limits of a container'
complete -c kase -n "__fish_kase_needs_command" -f -a "wait" -d 'Wait for a container\'s end'
complete -c kase -n "__fish_kase_using_subcommand create" -s b -l bundle -d 'The bundle\'s directory' -r -F
complete -c kase -n "__fish_kase_using_subcommand create" -s f -l config -d 'The configuration, if not config.json; relative to the bundle' -r -F
complete -c kase -n "__fish_kase_using_subcommand create" -l overlay -d 'Lay an overlay over the rootfs, so that it stays as it is: what changes goes to DIR, or to memory (tmpfs, or no DIR)' -r
complete -c kase -n "__fish_kase_using_subcommand create" -l console-socket -d 'Unix socket to send the terminal\'s master to' -r -F
complete -c kase -n "__fish_kase_using_subcommand create" -l pid-file -d 'File to write init\'s process id to' -r -F
complete -c kase -n "__fish_kase_using_subcommand create" -l pidfd-socket -d 'Unix socket to send a pidfd of init to' -r -F
complete -c kase -n "__fish_kase_using_subcommand create" -l preserve-fds -d 'Pass N descriptors, from 3 on, to the container' -r
complete -c kase -n "__fish_kase_using_subcommand create" -l no-pivot -d 'Do not use pivot_root: for a host that runs from an initramfs'
complete -c kase -n "__fish_kase_using_subcommand create" -l fake-root -d 'With one id only: let calls that change owners or users succeed without effect, for package managers; no security'
complete -c kase -n "__fish_kase_using_subcommand create" -l strict -d 'Refuse a config.json in which kase lint finds an error'
complete -c kase -n "__fish_kase_using_subcommand create" -l no-new-keyring -d 'Keep the caller\'s session keyring'
complete -c kase -n "__fish_kase_using_subcommand create" -l no-subreaper -d 'Do not adopt the container\'s orphans, which only run and exec do'
complete -c kase -n "__fish_kase_using_subcommand create" -s h -l help -d 'Print help'
complete -c kase -n "__fish_kase_using_subcommand delete" -s f -l force -d 'Kill what runs; a container that does not exist is no error'
complete -c kase -n "__fish_kase_using_subcommand delete" -s r -l regex -d 'Take ID for a regular expression, and act on every container whose id it matches'
complete -c kase -n "__fish_kase_using_subcommand delete" -s h -l help -d 'Print help'
complete -c kase -n "__fish_kase_using_subcommand doctor" -s b -l bundle -d 'Tell also whether the container of this bundle runs here, and how it would be adapted' -r -F
complete -c kase -n "__fish_kase_using_subcommand doctor" -s f -l config -d 'The configuration, if not config.json; relative to the bundle' -r -F
complete -c kase -n "__fish_kase_using_subcommand doctor" -l format -d 'How to show it' -r -f -a "text\t''
json\t''"
complete -c kase -n "__fish_kase_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c kase -n "__fish_kase_using_subcommand events" -l interval -d 'Time between statistics' -r
complete -c kase -n "__fish_kase_using_subcommand events" -l stats -d 'Show the statistics once, and no events'
complete -c kase -n "__fish_kase_using_subcommand events" -s h -l help -d 'Print help'
complete -c kase -n "__fish_kase_using_subcommand exec" -s p -l process -d 'The process as JSON, instead of all other flags' -r -F
complete -c kase -n "__fish_kase_using_subcommand exec" -l cwd -d 'Working directory' -r
complete -c kase -n "__fish_kase_using_subcommand exec" -s e -l env -d 'Add an environment variable' -r
complete -c kase -n "__fish_kase_using_subcommand exec" -s u -l user -d 'User, by the container\'s passwd and group' -r
complete -c kase -n "__fish_kase_using_subcommand exec" -s g -l additional-gids -d 'Add a supplementary group' -r
complete -c kase -n "__fish_kase_using_subcommand exec" -l console-socket -d 'Unix socket to send the terminal\'s master to' -r -F
complete -c kase -n "__fish_kase_using_subcommand exec" -l pid-file -d 'File to write its process id to' -r -F
complete -c kase -n "__fish_kase_using_subcommand exec" -l pidfd-socket -d 'Unix socket to send a pidfd of the process to' -r -F
complete -c kase -n "__fish_kase_using_subcommand exec" -l process-label -d 'SELinux label' -r
complete -c kase -n "__fish_kase_using_subcommand exec" -l apparmor -d 'AppArmor profile' -r
complete -c kase -n "__fish_kase_using_subcommand exec" -s c -l cap -d 'Add a capability' -r
complete -c kase -n "__fish_kase_using_subcommand exec" -l preserve-fds -d 'Pass N descriptors, from 3 on' -r
complete -c kase -n "__fish_kase_using_subcommand exec" -l cgroup -d 'Put it into a cgroup below the container\'s' -r
complete -c kase -n "__fish_kase_using_subcommand exec" -s t -l tty -d 'Give it a terminal'
complete -c kase -n "__fish_kase_using_subcommand exec" -s d -l detach -d 'Do not wait for it to end'
complete -c kase -n "__fish_kase_using_subcommand exec" -l no-new-privs -d 'Set no_new_privs'
complete -c kase -n "__fish_kase_using_subcommand exec" -l ignore-paused -d 'Allow it in a paused container, where it waits'
complete -c kase -n "__fish_kase_using_subcommand exec" -l no-subreaper -d 'Do not adopt its orphans'
complete -c kase -n "__fish_kase_using_subcommand exec" -s h -l help -d 'Print help'
complete -c kase -n "__fish_kase_using_subcommand explain" -s b -l bundle -d 'The bundle\'s directory' -r -F
complete -c kase -n "__fish_kase_using_subcommand explain" -s f -l config -d 'The configuration, if not config.json; relative to the bundle' -r -F
complete -c kase -n "__fish_kase_using_subcommand explain" -l overlay -d 'Lay an overlay over the rootfs, so that it stays as it is: what changes goes to DIR, or to memory (tmpfs, or no DIR)' -r
complete -c kase -n "__fish_kase_using_subcommand explain" -l format -d 'How to show it' -r -f -a "table\t''
json\t''"
complete -c kase -n "__fish_kase_using_subcommand explain" -l no-pivot -d 'Do not use pivot_root: for a host that runs from an initramfs'
complete -c kase -n "__fish_kase_using_subcommand explain" -l fake-root -d 'With one id only: let calls that change owners or users succeed without effect, for package managers; no security'
complete -c kase -n "__fish_kase_using_subcommand explain" -l strict -d 'Refuse a config.json in which kase lint finds an error'
complete -c kase -n "__fish_kase_using_subcommand explain" -s h -l help -d 'Print help'
complete -c kase -n "__fish_kase_using_subcommand features" -s h -l help -d 'Print help'
complete -c kase -n "__fish_kase_using_subcommand gc" -s f -l format -d 'How to show it' -r -f -a "table\t''
json\t''"
complete -c kase -n "__fish_kase_using_subcommand gc" -l dry-run -d 'Show it only'
complete -c kase -n "__fish_kase_using_subcommand gc" -s h -l help -d 'Print help'
complete -c kase -n "__fish_kase_using_subcommand integrate" -l config-dir -d 'Directory of the engine\'s configuration, if it is not the usual one' -r -F
complete -c kase -n "__fish_kase_using_subcommand integrate" -l binary -d 'Register this kase instead of the one that is called' -r -F
complete -c kase -n "__fish_kase_using_subcommand integrate" -l pid-file -d 'Where dockerd has its process id, if it is not the usual file' -r -F
complete -c kase -n "__fish_kase_using_subcommand integrate" -l remove -d 'Take exactly what was added out again'
complete -c kase -n "__fish_kase_using_subcommand integrate" -l no-default -d 'Add kase without making it the default runtime'
complete -c kase -n "__fish_kase_using_subcommand integrate" -s h -l help -d 'Print help'
complete -c kase -n "__fish_kase_using_subcommand kill" -s a -l all -d 'Send it to every process of the container'
complete -c kase -n "__fish_kase_using_subcommand kill" -s r -l regex -d 'Take ID for a regular expression, and act on every container whose id it matches'
complete -c kase -n "__fish_kase_using_subcommand kill" -s h -l help -d 'Print help'
complete -c kase -n "__fish_kase_using_subcommand lint" -s b -l bundle -d 'The bundle\'s directory' -r -F
complete -c kase -n "__fish_kase_using_subcommand lint" -s f -l config -d 'The configuration, if not config.json; relative to the bundle' -r -F
complete -c kase -n "__fish_kase_using_subcommand lint" -l format -d 'How to show it' -r -f -a "text\t''
json\t''"
complete -c kase -n "__fish_kase_using_subcommand lint" -s h -l help -d 'Print help'
complete -c kase -n "__fish_kase_using_subcommand list" -s f -l format -d 'How to show it' -r -f -a "table\t''
json\t''"
complete -c kase -n "__fish_kase_using_subcommand list" -s q -l quiet -d 'Show the ids only'
complete -c kase -n "__fish_kase_using_subcommand list" -s h -l help -d 'Print help'
complete -c kase -n "__fish_kase_using_subcommand pause" -s h -l help -d 'Print help'
complete -c kase -n "__fish_kase_using_subcommand ps" -s f -l format -d 'How to show it' -r -f -a "table\t''
json\t''"
complete -c kase -n "__fish_kase_using_subcommand ps" -s h -l help -d 'Print help'
complete -c kase -n "__fish_kase_using_subcommand resume" -s h -l help -d 'Print help'
complete -c kase -n "__fish_kase_using_subcommand run" -s b -l bundle -d 'The bundle\'s directory' -r -F
complete -c kase -n "__fish_kase_using_subcommand run" -s f -l config -d 'The configuration, if not config.json; relative to the bundle' -r -F
complete -c kase -n "__fish_kase_using_subcommand run" -l overlay -d 'Lay an overlay over the rootfs, so that it stays as it is: what changes goes to DIR, or to memory (tmpfs, or no DIR)' -r
complete -c kase -n "__fish_kase_using_subcommand run" -l console-socket -d 'Unix socket to send the terminal\'s master to' -r -F
complete -c kase -n "__fish_kase_using_subcommand run" -l pid-file -d 'File to write init\'s process id to' -r -F
complete -c kase -n "__fish_kase_using_subcommand run" -l pidfd-socket -d 'Unix socket to send a pidfd of init to' -r -F
complete -c kase -n "__fish_kase_using_subcommand run" -l preserve-fds -d 'Pass N descriptors, from 3 on, to the container' -r
complete -c kase -n "__fish_kase_using_subcommand run" -l no-pivot -d 'Do not use pivot_root: for a host that runs from an initramfs'
complete -c kase -n "__fish_kase_using_subcommand run" -l fake-root -d 'With one id only: let calls that change owners or users succeed without effect, for package managers; no security'
complete -c kase -n "__fish_kase_using_subcommand run" -l strict -d 'Refuse a config.json in which kase lint finds an error'
complete -c kase -n "__fish_kase_using_subcommand run" -l no-new-keyring -d 'Keep the caller\'s session keyring'
complete -c kase -n "__fish_kase_using_subcommand run" -l no-subreaper -d 'Do not adopt the container\'s orphans, which only run and exec do'
complete -c kase -n "__fish_kase_using_subcommand run" -s d -l detach -d 'Do not wait for the container to end'
complete -c kase -n "__fish_kase_using_subcommand run" -l keep -d 'Leave the stopped container for inspection, until kase delete'
complete -c kase -n "__fish_kase_using_subcommand run" -s h -l help -d 'Print help'
complete -c kase -n "__fish_kase_using_subcommand spec" -s b -l bundle -d 'The bundle\'s directory' -r -F
complete -c kase -n "__fish_kase_using_subcommand spec" -l rootless -d 'For an ordinary user: with a user namespace that maps you to root'
complete -c kase -n "__fish_kase_using_subcommand spec" -s h -l help -d 'Print help'
complete -c kase -n "__fish_kase_using_subcommand start" -s h -l help -d 'Print help'
complete -c kase -n "__fish_kase_using_subcommand state" -s h -l help -d 'Print help'
complete -c kase -n "__fish_kase_using_subcommand update" -s r -l resources -d 'linux.resources as JSON, from a file or (-) from standard input, instead of the single limits' -r -F
complete -c kase -n "__fish_kase_using_subcommand update" -l l3-cache-schema -d 'Share of the last-level cache, as in L3:0=7f0;1=1f (resctrl)' -r
complete -c kase -n "__fish_kase_using_subcommand update" -l mem-bw-schema -d 'Share of memory bandwidth, as in MB:0=20;1=70 (resctrl)' -r
complete -c kase -n "__fish_kase_using_subcommand update" -l blkio-weight -d 'Relative share of block I/O, from 10 to 1000' -r
complete -c kase -n "__fish_kase_using_subcommand update" -l cpu-period -d 'Period that the quota is for, in microseconds' -r
complete -c kase -n "__fish_kase_using_subcommand update" -l cpu-quota -d 'Run time in a period, in microseconds' -r
complete -c kase -n "__fish_kase_using_subcommand update" -l cpu-burst -d 'Run time that may be saved up, in microseconds' -r
complete -c kase -n "__fish_kase_using_subcommand update" -l cpu-share -d 'Relative share of the processors' -r
complete -c kase -n "__fish_kase_using_subcommand update" -l cpu-rt-period -d 'Period of real-time run time, in microseconds' -r
complete -c kase -n "__fish_kase_using_subcommand update" -l cpu-rt-runtime -d 'Real-time run time, in microseconds' -r
complete -c kase -n "__fish_kase_using_subcommand update" -l cpu-idle -d '1 to run only when nothing else does' -r
complete -c kase -n "__fish_kase_using_subcommand update" -l cpuset-cpus -d 'Processors that may be used' -r
complete -c kase -n "__fish_kase_using_subcommand update" -l cpuset-mems -d 'Memory nodes that may be used' -r
complete -c kase -n "__fish_kase_using_subcommand update" -l memory -d 'Memory limit' -r
complete -c kase -n "__fish_kase_using_subcommand update" -l memory-reservation -d 'Memory that is kept when it is short' -r
complete -c kase -n "__fish_kase_using_subcommand update" -l memory-swap -d 'Memory and swap together; -1 for no limit on swap' -r
complete -c kase -n "__fish_kase_using_subcommand update" -l kernel-memory-tcp -d 'Memory of TCP buffers (cgroup v1)' -r
complete -c kase -n "__fish_kase_using_subcommand update" -l pids-limit -d 'Number of processes; -1 for no limit' -r
complete -c kase -n "__fish_kase_using_subcommand update" -s h -l help -d 'Print help'
complete -c kase -n "__fish_kase_using_subcommand wait" -s h -l help -d 'Print help'
