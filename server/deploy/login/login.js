// Logs in at tokenkeep, and goes back to the page that was asked for.
"use strict";

// The way back, if it leads to this site.
function wayBack() {
  const wanted = new URLSearchParams(location.search).get("rd") ?? "/";
  try {
    const url = new URL(wanted, location.origin);
    return url.origin === location.origin ? url.href : "/";
  } catch {
    return "/";
  }
}

document.querySelector("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const says = form.querySelector("output");
  says.textContent = "";
  try {
    const answer = await fetch("/v1/login", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(Object.fromEntries(new FormData(form))),
    });
    if (answer.ok) {
      location.replace(wayBack());
    } else {
      says.textContent = (await answer.json()).detail;
    }
  } catch {
    says.textContent = "The server cannot be reached: try again.";
  }
});
