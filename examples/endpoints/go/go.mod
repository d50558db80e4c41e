module endpoint

go 1.22
