# plugwire's guardian: its input ends when the host is gone, and then so must the host's plugins be.
#
#   start KEY TARGET FOLDER   a process, or -GROUP, and the folder of its sockets
#   socket KEY PATH           a socket that is elsewhere
#   end KEY                   forget it
trap '' HUP INT QUIT TERM TSTP
keys=
while read -r verb key value; do
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
    [ -n "$folder" ] && rm -rf -- "$folder"
done
