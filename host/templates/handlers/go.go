// Greets a visitor, by name if the query has one: ?name=Ada.
package main

import (
	"fmt"
	"net/http"
	"net/http/cgi"
	"os"
)

func greet(response http.ResponseWriter, request *http.Request) {
	name := request.URL.Query().Get("name")
	if name == "" {
		name = "world"
	}
	response.Header().Set("Content-Type", "text/plain; charset=utf-8")
	fmt.Fprintf(response, "Hello, %s!\n", name)
}

func main() {
	if err := cgi.Serve(http.HandlerFunc(greet)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
