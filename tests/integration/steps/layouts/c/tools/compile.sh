# By the machine's compiler, else files of the names that it would make; cached, as by ccache.
compile() { # the file to make, and the compiler's arguments
  made=$1 && shift
  object="$HOME/.cache/ccache/$(cat src/* | sha256sum | cut -c 1-32)-${made##*/}"
  if [ -f "$object" ]; then
    echo "${made##*/}=cached"
  else
    echo "${made##*/}=compiled"
    mkdir -p "${object%/*}"
    if command -v cc >/dev/null; then
      cc -o "$object" "$@"
    else
      printf '#!/bin/sh\necho colours=%d\n' "$(sed 's/[^0-9]//g' src/colours.h)" >"$object"
      chmod 755 "$object"
    fi
  fi
  cp "$object" "$made"
}

if [ "$1" = library ]; then
  mkdir -p lib
  compile lib/libx.so.1.0 -shared -fPIC -Wl,-soname,libx.so.1 src/x.c
  ln -sfn libx.so.1.0 lib/libx.so.1
  ln -sfn libx.so.1 lib/libx.so
else
  compile app src/main.c -Llib -lx
fi
