module example.invalid/go-report

go 1.24
