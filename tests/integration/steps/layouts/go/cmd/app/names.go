package main

const names = "example.org/lib"
