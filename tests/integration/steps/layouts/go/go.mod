module example.org/app

go 1.21

require example.org/lib v1.2.0
