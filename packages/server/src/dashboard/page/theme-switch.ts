import { h, type ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";

const THEMES = ["auto", "light", "dark"] as const;
type Theme = (typeof THEMES)[number];

const STORED_AS = "emcache-theme";

/** The system's theme, or one of its own; kept in this browser. */
export function ThemeSwitch(): ComponentChildren {
  const [theme, setTheme] = useState<Theme>(storedTheme);
  useEffect(() => {
    document.documentElement.dataset["theme"] = theme;
    try {
      localStorage.setItem(STORED_AS, theme);
    } catch {
      // Without storage it holds until the page is left.
    }
  }, [theme]);
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length] ?? "auto";
  return h(
    "button",
    {
      class: "button button-quiet",
      type: "button",
      title: `Theme: ${theme}. Change to ${next}`,
      onClick: () => setTheme(next),
    },
    h("span", { class: `theme-mark theme-${theme}`, "aria-hidden": "true" }),
    h("span", { class: "theme-word" }, theme),
    h("span", { class: "sr-only" }, " theme"),
  );
}

function storedTheme(): Theme {
  try {
    const stored = localStorage.getItem(STORED_AS);
    return THEMES.find((theme) => theme === stored) ?? "auto";
  } catch {
    return "auto";
  }
}
