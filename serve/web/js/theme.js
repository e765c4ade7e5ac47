// Dark or light: the system's wish, until the button says otherwise.

export function theme(changed) {
  const root = document.documentElement, system = matchMedia("(prefers-color-scheme: dark)");
  const apply = () => {
    root.dataset.theme = localStorage.getItem("tdmm-theme") ?? (system.matches ? "dark" : "light");
    changed();
  };
  system.addEventListener("change", apply);
  apply();
  return () => {
    localStorage.setItem("tdmm-theme", root.dataset.theme === "dark" ? "light" : "dark");
    apply();
  };
}
