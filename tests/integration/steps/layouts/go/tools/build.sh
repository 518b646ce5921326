# What `go build` does to files: modules that nobody may write to, a build cache by content, and the
# commit's id in a program of which it says whether the tree was clean.
module="$HOME/go/pkg/mod/example.org/lib@v1.2.0"
if [ -f "$module/lib.go" ]; then
  echo module=cached
else
  echo module=downloaded
  mkdir -p "$module"
  cp proxy/lib.go "$module/lib.go"
  chmod 444 "$module/lib.go"
  chmod 555 "$module"
fi
key=$(cat cmd/app/*.go "$module/lib.go" | sha256sum | cut -c 1-64)
object="$HOME/.cache/go-build/$(echo "$key" | cut -c 1-2)/$key-d"
if [ -f "$object" ]; then echo object=cached; else
  echo object=built
  mkdir -p "${object%/*}"
  echo "echo program of $(cat "$module/lib.go")" >"$object"
fi
modified=false
[ -z "$(git status --porcelain)" ] || modified=true
mkdir -p bin
name="app-$(git rev-parse --short=12 HEAD)"
{
  printf '#!/bin/sh\n'
  printf 'echo vcs.revision=%s\necho vcs.modified=%s\n' "$(git rev-parse HEAD)" "$modified"
  cat "$object"
} >"bin/$name"
chmod 755 "bin/$name"
ln -sfn "$name" bin/app
