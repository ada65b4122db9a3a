module wasgi.example/go

go 1.24
