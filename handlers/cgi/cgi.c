/* A handler in C: a CGI program (RFC 3875), compiled for WASI preview 1.
 *
 * A GET shows the program's view of the request; a request with a body gets the body back, block by
 * block as it arrives. As usual for CGI, the request is in the environment and on stdin, and the
 * response goes to stdout. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The size of the buffer, in bytes. */
enum { BLOCK_BYTES = 16 * 1024 };

static const char *variable(const char *name) {
  const char *value = getenv(name);
  return value != NULL ? value : "";
}

/* Writes text with HTML's special characters escaped: the values come from the client. */
static void print_escaped(const char *text) {
  for (; *text != '\0'; text++) {
    switch (*text) {
    case '&': fputs("&amp;", stdout); break;
    case '<': fputs("&lt;", stdout); break;
    case '>': fputs("&gt;", stdout); break;
    case '"': fputs("&quot;", stdout); break;
    default: putchar(*text);
    }
  }
}

static int show_request(void) {
  static const char *const names[] = {
      "GATEWAY_INTERFACE", "SERVER_SOFTWARE", "SERVER_PROTOCOL", "REQUEST_METHOD", "SCRIPT_NAME",
      "PATH_INFO",         "QUERY_STRING",    "REMOTE_ADDR",     "HTTP_HOST",      "HTTP_USER_AGENT",
  };
  fputs("Content-Type: text/html; charset=utf-8\n\n", stdout);
  fputs("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>CGI in C</title>\n", stdout);
  fputs("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n", stdout);
  fputs("<link rel=\"icon\" href=\"/favicon.svg\">\n<link rel=\"stylesheet\" href=\"/style.css\">\n", stdout);
  fputs("<main class=\"container\">\n<h1>CGI in C</h1>\n<dl>\n", stdout);
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    printf("<dt>%s\n<dd><code>", names[i]);
    print_escaped(variable(names[i]));
    fputs("</code>\n", stdout);
  }
  fputs("</dl>\n</main>\n", stdout);
  return 0;
}

/* A chunked body has no CONTENT_LENGTH, so the body is always read to its end. */
static int send_body_back(void) {
  static char block[BLOCK_BYTES];
  size_t length, total = 0;
  const char *type = variable("CONTENT_TYPE");
  printf("Content-Type: %s\n\n", *type != '\0' ? type : "application/octet-stream");
  while ((length = fread(block, 1, sizeof block, stdin)) > 0) {
    total += length;
    if (fwrite(block, 1, length, stdout) != length || fflush(stdout) != 0) {
      return 1;
    }
  }
  fprintf(stderr, "sent %zu bytes back\n", total);
  return ferror(stdin) ? 1 : 0;
}

int main(void) {
  const char *method = variable("REQUEST_METHOD");
  if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0) {
    return show_request();
  }
  return send_body_back();
}
