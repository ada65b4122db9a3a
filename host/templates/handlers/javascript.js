// Greets a visitor, by name if the query has one: ?name=Ada.

export default {
  fetch(request) {
    const name = new URL(request.url).searchParams.get("name") ?? "world";
    return new Response(`Hello, ${name}!\n`);
  },
};
