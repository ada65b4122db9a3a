// Rolls dice: /dice, or /dice?count=5&sides=20.

export default {
  fetch(request) {
    const { searchParams } = new URL(request.url);
    const [count, sides] = [["count", 2], ["sides", 6]].map(([name, usual]) => {
      return Math.min(Math.max(Math.trunc(searchParams.get(name) ?? usual) || usual, 1), 100);
    });
    const rolls = Array.from({ length: count }, () => 1 + Math.floor(Math.random() * sides));
    const sum = rolls.reduce((sum, roll) => sum + roll);
    return Response.json({ rolls, sum });
  },
};
