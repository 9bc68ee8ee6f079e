/** Kept for this tab only: it is gone when the tab is closed. */
const TOKEN_KEY = "emcache-token";
/** Whoever did not want to give one is not asked again before the page is loaded anew. */
const REFUSED = "";

/** `fetch` with the token that this server wants; the first answer 401 asks for it. */
export async function fetchWithToken(path: string, init: RequestInit): Promise<Response> {
  const used = sessionStorage.getItem(TOKEN_KEY);
  const response = await fetch(path, withToken(init, used));
  if (response.status !== 401) return response;
  const token = otherToken(used);
  return token === null ? response : fetch(path, withToken(init, token));
}

function withToken(init: RequestInit, token: string | null): RequestInit {
  if (token === null || token === REFUSED) return init;
  const headers = new Headers(init.headers);
  headers.set("authorization", `Bearer ${token}`);
  return { ...init, headers };
}

/** One that a request beside this one was given meanwhile, or that is asked for now; null where there is none. */
function otherToken(used: string | null): string | null {
  const stored = sessionStorage.getItem(TOKEN_KEY);
  if (stored !== used) return stored === REFUSED ? null : stored;
  if (stored === REFUSED) return null;
  const typed = window.prompt("This server wants a token (emcache token create NAME --scope read):")?.trim() ?? "";
  sessionStorage.setItem(TOKEN_KEY, typed);
  if (typed === REFUSED)
    window.addEventListener("pagehide", () => sessionStorage.removeItem(TOKEN_KEY), { once: true });
  return typed === REFUSED ? null : typed;
}
