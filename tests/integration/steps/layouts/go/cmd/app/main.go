package main

//go:generate sh tools/generate.sh

func main() { println(names) }
