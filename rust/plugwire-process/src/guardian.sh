# plugwire's guardian. Its input ends when the parent is gone; then it kills the parent's child processes.
#
#   start KEY TARGET DIRECTORY   a process, or -GROUP, and its private directory
#   socket KEY PATH              a socket outside that directory
#   end KEY                      forget it
trap '' HUP INT QUIT TERM TSTP
keys=
# Not split by `read`, which strips trailing blanks: a path may have some, and an empty one leaves one.
while IFS= read -r line; do
    verb=${line%% *} line=${line#* }
    key=${line%% *} value=${line#* }
    case $verb in
    start)
        # The child itself writes it, and then the parent once more.
        eval "[ \"\${target_$key-}\" ]" || keys="$keys $key"
        eval "target_$key=\${value%% *} dir_$key=\${value#* }"
        ;;
    socket) eval "socket_$key=\$value" ;;
    end)
        rest=
        for other in $keys; do
            [ "$other" = "$key" ] || rest="$rest $other"
        done
        keys=$rest
        unset "target_$key" "dir_$key" "socket_$key"
        ;;
    esac
done
for key in $keys; do
    eval "kill -KILL \$target_$key"
done
for key in $keys; do
    eval "dir=\$dir_$key socket=\${socket_$key-}"
    [ -S "$socket" ] && rm -f -- "$socket"
    # Only an absolute path, whatever the input says: a mistake would be most costly here.
    case $dir in /*) rm -rf -- "$dir" ;; esac
done
