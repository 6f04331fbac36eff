# plugwire's guardian: its input ends when the host is gone, and then so must the host's plugins be.
#
#   start KEY TARGET FOLDER   a process, or -GROUP, and the folder of its sockets
#   socket KEY PATH           a socket that is elsewhere
#   end KEY                   forget it
trap '' HUP INT QUIT TERM TSTP
keys=
# Not split by `read`, which strips blanks from the end: a path may have some, and an empty one leaves one.
while IFS= read -r line; do
    verb=${line%% *} line=${line#* }
    key=${line%% *} value=${line#* }
    case $verb in
    start)
        # The plugin's own process says so, and then the host once more.
        eval "[ \"\${target_$key-}\" ]" || keys="$keys $key"
        eval "target_$key=\${value%% *} folder_$key=\${value#* }"
        ;;
    socket) eval "socket_$key=\$value" ;;
    end)
        rest=
        for other in $keys; do
            [ "$other" = "$key" ] || rest="$rest $other"
        done
        keys=$rest
        unset "target_$key" "folder_$key" "socket_$key"
        ;;
    esac
done
for key in $keys; do
    eval "kill -KILL \$target_$key"
done
for key in $keys; do
    eval "folder=\$folder_$key socket=\${socket_$key-}"
    [ -S "$socket" ] && rm -f -- "$socket"
    # Nothing but a whole path, whatever was told: here is where a mistake would cost most.
    case $folder in /*) rm -rf -- "$folder" ;; esac
done
