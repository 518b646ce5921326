printf '#define COLOURS %d\n' "$(wc -l <src/colours.txt)" >src/colours.h
