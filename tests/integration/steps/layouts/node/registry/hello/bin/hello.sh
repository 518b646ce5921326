#!/bin/sh
# As node does: a program finds its package by where the link to it leads.
here=$(dirname "$(readlink -f "$0")")
cat "$here/../lib/text"
