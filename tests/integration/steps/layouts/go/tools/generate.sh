printf 'package main\n\nconst names = "%s"\n' "$(sed -n 's/^require \([^ ]*\) .*/\1/p' go.mod)" >cmd/app/names.go
