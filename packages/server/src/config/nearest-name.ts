/** The one of `names` that is closest to `name`: the one to suggest where `name` is unknown. */
export function nearestName(name: string, names: Iterable<string>): string | null {
  let nearest: string | null = null;
  let nearestDistance = Infinity;
  for (const candidate of names) {
    const distance = nameDistance(name, candidate);
    if (distance < nearestDistance) {
      nearest = candidate;
      nearestDistance = distance;
    }
  }
  return nearest;
}

/** Edits between two dotted names; a right last part in the wrong section counts as close. */
function nameDistance(left: string, right: string): number {
  const distance = editDistance(left, right);
  return lastPart(left) === lastPart(right) ? Math.min(distance, 1) : distance;
}

function lastPart(name: string): string {
  return name.slice(name.lastIndexOf(".") + 1);
}

/** Levenshtein distance: fewest single-character insertions, deletions and substitutions. */
export function editDistance(left: string, right: string): number {
  let previous = Array.from({ length: right.length + 1 }, (_, column) => column);
  for (let row = 1; row <= left.length; row++) {
    const current = [row];
    for (let column = 1; column <= right.length; column++) {
      const substitution = (previous[column - 1] ?? 0) + (left[row - 1] === right[column - 1] ? 0 : 1);
      const insertion = (current[column - 1] ?? 0) + 1;
      const deletion = (previous[column] ?? 0) + 1;
      current.push(Math.min(substitution, insertion, deletion));
    }
    previous = current;
  }
  return previous[right.length] ?? 0;
}
