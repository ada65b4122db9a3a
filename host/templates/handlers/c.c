// Greets a visitor, by name if the query has one: ?name=Ada. It is a CGI program (RFC 3875): the
// request is in the environment, and the response goes to standard output.

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Decodes the value of a field in a query, up to the next `&`. Returns its length.
static size_t decode(const char *from, char *to, size_t size) {
    size_t length = 0;
    while (*from && *from != '&' && length + 1 < size) {
        char digits[3] = {0};
        char byte = *from++;
        if (byte == '+') {
            byte = ' ';
        } else if (byte == '%' && isxdigit((unsigned char)from[0]) &&
                   isxdigit((unsigned char)from[1])) {
            memcpy(digits, from, 2);
            byte = (char)strtol(digits, NULL, 16);
            from += 2;
        }
        to[length++] = byte;
    }
    to[length] = 0;
    return length;
}

int main(void) {
    char name[100] = "";
    const char *field = getenv("QUERY_STRING");
    while (field && *field) {
        if (strncmp(field, "name=", 5) == 0) {
            decode(field + 5, name, sizeof name);
            break;
        }
        field = strchr(field, '&');
        field = field ? field + 1 : NULL;
    }
    printf("Content-Type: text/plain; charset=utf-8\r\n\r\n");
    printf("Hello, %s!\n", *name ? name : "world");
    return 0;
}
