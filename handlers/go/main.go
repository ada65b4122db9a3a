// A handler in Go: a CGI program (RFC 3875), compiled for WASI preview 1.
//
// It uses Go's standard library: net/http's handlers, which net/http/cgi calls once. A GET shows
// the program's view of the request; a request with a body gets the body back.
package main

import (
	"fmt"
	"html"
	"io"
	"log"
	"net/http"
	"net/http/cgi"
	"os"
	"runtime"
	"slices"
)

func main() {
	// The server's log adds the handler's name and the time to each line.
	log.SetFlags(0)
	routes := http.NewServeMux()
	routes.HandleFunc("GET /", showRequest)
	routes.HandleFunc("/", sendBodyBack)
	if err := cgi.Serve(routes); err != nil {
		log.Fatal(err)
	}
}

func showRequest(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprint(w, "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>CGI in Go</title>\n",
		"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
		"<link rel=\"icon\" href=\"/favicon.svg\">\n<link rel=\"stylesheet\" href=\"/style.css\">\n",
		"<main class=\"container\">\n<h1>CGI in Go</h1>\n<dl>\n")
	show := func(name, value string) {
		// The values come from the client, so they are escaped.
		fmt.Fprintf(w, "<dt>%s\n<dd><code>%s</code>\n",
			html.EscapeString(name), html.EscapeString(value))
	}
	show("Version", runtime.Version())
	show("Method", r.Method)
	show("Path", r.URL.Path)
	show("Query", r.URL.RawQuery)
	show("Client", r.RemoteAddr)
	var names []string
	for name := range r.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		show(name, r.Header.Get(name))
	}
	fmt.Fprintln(w, "</dl>\n</main>")
}

func sendBodyBack(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(os.Stdin)
	if r.ContentLength > 0 {
		body = r.Body
	} // net/http/cgi ignores chunked bodies, which have no length, so read stdin.
	kind := r.Header.Get("Content-Type")
	if kind == "" {
		kind = "application/octet-stream"
	}
	w.Header().Set("Content-Type", kind)
	total, err := io.Copy(w, body)
	if err != nil {
		// An exit status other than 0 tells the server that the response is incomplete.
		log.Fatal(err)
	}
	log.Printf("sent %d bytes back", total)
}
