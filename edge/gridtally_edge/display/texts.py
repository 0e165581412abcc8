"""The words of the balance page in English, Spanish and Hindi: messages by code, labels, reasons.

Message codes and their parameters travel (prepayment.md 6.3); only here they become words. A test keeps the three
languages complete and their placeholders equal.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from gridtally_shared.clock import MS_PER_DAY, MS_PER_HOUR
from gridtally_shared.money import SYMBOLS, decimal_text, display, floor_to_minor, minor_digits, round_half_even

LANGUAGES = {"en": "English", "es": "Español", "hi": "हिन्दी"}
FALLBACK = "en"
PRICE_DIGITS = 4

MESSAGES: dict[str, dict[str, str]] = {
    "LOW": {
        "en": "Low balance {b}. About {t} left.",
        "es": "Saldo bajo {b}. Quedan unas {t}.",
        "hi": "बैलेंस कम {b}। लगभग {t} शेष।",
    },
    "LOW_BARE": {"en": "Low balance {b}. Please top up.", "es": "Saldo bajo {b}. Recargue, por favor.", "hi": "बैलेंस कम {b}। रिचार्ज करें।"},
    "ZERO": {
        "en": "Your account has reached zero. Balance {b}.",
        "es": "Su cuenta ha llegado a cero. Saldo {b}.",
        "hi": "आपका बैलेंस शून्य पर पहुँच गया। बैलेंस {b}।",
    },
    "CUT": {
        "en": "Supply off. Pay {a} to restore.",
        "es": "Servicio cortado. Pague {a} para restablecer.",
        "hi": "बिजली बंद। चालू करने हेतु {a} दें।",
    },
    "CUT_ORDER": {
        "en": "Supply switched off by your utility.",
        "es": "Servicio cortado por su compañía.",
        "hi": "बिजली कंपनी ने बिजली बंद की है।",
    },
    "ON": {"en": "Supply is on. Balance {b}.", "es": "Hay servicio. Saldo {b}.", "hi": "बिजली चालू। बैलेंस {b}।"},
    "CREDIT": {"en": "{a} received. Balance {b}.", "es": "Recibido {a}. Saldo {b}.", "hi": "{a} मिला। बैलेंस {b}।"},
    "TEXT": {"en": "{text}", "es": "{text}", "hi": "{text}"},
}

LABELS: dict[str, dict[str, str]] = {
    "title": {"en": "Your electricity balance", "es": "Su saldo de electricidad", "hi": "आपका बिजली बैलेंस"},
    "account": {"en": "Account number", "es": "Número de cuenta", "hi": "खाता संख्या"},
    "account_short": {"en": "Account {n}", "es": "Cuenta {n}", "hi": "खाता {n}"},
    "pin": {"en": "PIN", "es": "PIN", "hi": "पिन"},
    "open": {"en": "Show my balance", "es": "Ver mi saldo", "hi": "मेरा बैलेंस देखें"},
    "leave": {"en": "Close this page", "es": "Cerrar esta página", "hi": "यह पेज बंद करें"},
    "language": {"en": "Language", "es": "Idioma", "hi": "भाषा"},
    "hint": {
        "en": "Your account number is on your bill or card. This page works without internet.",
        "es": "El número de cuenta está en su factura o tarjeta. Esta página funciona sin internet.",
        "hi": "खाता संख्या आपके बिल या कार्ड पर है। यह पेज बिना इंटरनेट के चलता है।",
    },
    "wrong": {
        "en": "Account number and PIN do not match. Check both and try again.",
        "es": "La cuenta y el PIN no coinciden. Revise ambos e inténtelo de nuevo.",
        "hi": "खाता संख्या और पिन मेल नहीं खाते। दोनों जाँचकर फिर कोशिश करें।",
    },
    "locked": {
        "en": "Too many wrong tries. Wait {s} seconds.",
        "es": "Demasiados intentos. Espere {s} segundos.",
        "hi": "बहुत बार गलत। {s} सेकंड रुकें।",
    },
    "balance": {"en": "Balance", "es": "Saldo", "hi": "बैलेंस"},
    "enough_for": {
        "en": "Enough for about {t}, or {kwh} kWh",
        "es": "Alcanza para unas {t}, o {kwh} kWh",
        "hi": "लगभग {t} या {kwh} kWh के लिए",
    },
    "enough_kwh": {"en": "Enough for {kwh} kWh", "es": "Alcanza para {kwh} kWh", "hi": "{kwh} kWh के लिए"},
    "used_up": {"en": "Used up. Please top up.", "es": "Agotado. Recargue, por favor.", "hi": "समाप्त। कृपया रिचार्ज करें।"},
    "estimate": {"en": "estimate", "es": "estimación", "hi": "अनुमान"},
    "supply": {"en": "Supply", "es": "Servicio", "hi": "बिजली"},
    "on": {"en": "On", "es": "Conectado", "hi": "चालू"},
    "off": {"en": "Off", "es": "Cortado", "hi": "बंद"},
    "armed": {"en": "Ready", "es": "Listo", "hi": "तैयार"},
    "unknown": {"en": "Not known", "es": "No se sabe", "hi": "पता नहीं"},
    "price": {"en": "Price now", "es": "Precio ahora", "hi": "अभी का दाम"},
    "price_value": {"en": "{p} per kWh, tax included", "es": "{p} por kWh, impuestos incluidos", "hi": "{p} प्रति kWh, कर सहित"},
    "day": {"en": "Each day", "es": "Cada día", "hi": "हर दिन"},
    "no_price": {"en": "Not known here yet", "es": "Aún no se conoce aquí", "hi": "अभी उपलब्ध नहीं"},
    "topup": {"en": "Last top-up", "es": "Última recarga", "hi": "पिछला रिचार्ज"},
    "topup_value": {"en": "{a} on {d}", "es": "{a} el {d}", "hi": "{a}, {d}"},
    "no_topup": {"en": "None yet", "es": "Ninguna todavía", "hi": "अभी तक नहीं"},
    "debt": {"en": "Owed", "es": "Debe", "hi": "बकाया"},
    "register": {"en": "Meter reading", "es": "Lectura del medidor", "hi": "मीटर रीडिंग"},
    "meter": {"en": "Meter", "es": "Medidor", "hi": "मीटर"},
    "messages": {"en": "Messages", "es": "Mensajes", "hi": "संदेश"},
    "no_messages": {"en": "No messages.", "es": "No hay mensajes.", "hi": "कोई संदेश नहीं।"},
    "as_of": {
        "en": "As of {d}, entry {n} of your account. This page renews itself every minute.",
        "es": "Al {d}, asiento {n} de su cuenta. La página se renueva cada minuto.",
        "hi": "{d} तक, आपके खाते की प्रविष्टि {n}। यह पेज हर मिनट नया होता है।",
    },
    "never": {
        "en": "Your meter has not been read yet.",
        "es": "Aún no se ha leído su medidor.",
        "hi": "आपका मीटर अभी नहीं पढ़ा गया है।",
    },
    "old": {
        "en": "The last reading is from {d}. What you see may be out of date.",
        "es": "La última lectura es del {d}. Lo que ve puede no estar al día.",
        "hi": "पिछली रीडिंग {d} की है। जानकारी पुरानी हो सकती है।",
    },
    "not_ready": {
        "en": "The balance is not available at the moment. Try again in a minute.",
        "es": "El saldo no está disponible ahora. Inténtelo en un minuto.",
        "hi": "बैलेंस अभी उपलब्ध नहीं है। एक मिनट बाद कोशिश करें।",
    },
}

REASONS: dict[str, dict[str, str]] = {
    "balance": {
        "en": "Off since {d} because the balance was used up. Pay {a} and it comes back by itself.",
        "es": "Cortado desde el {d} porque se agotó el saldo. Pague {a} y volverá solo.",
        "hi": "{d} से बंद, क्योंकि बैलेंस समाप्त हो गया। {a} दें, बिजली अपने आप आ जाएगी।",
    },
    "balance_paid": {
        "en": "Your payment is here. The supply is being switched on.",
        "es": "Su pago ha llegado. Se está conectando el servicio.",
        "hi": "आपका भुगतान मिल गया। बिजली चालू की जा रही है।",
    },
    "restore_holds": {
        "en": "Your payment is here, but the supply is held off for another reason ({why}). Please call your utility.",
        "es": "Su pago ha llegado, pero el servicio sigue cortado por otro motivo ({why}). Llame a su compañía.",
        "hi": "भुगतान मिल गया, पर बिजली दूसरे कारण ({why}) से बंद है। कृपया बिजली कंपनी से संपर्क करें।",
    },
    "restore_remote_close": {
        "en": "Your payment is here. For safety somebody must be at home when it is switched on: please call your utility.",
        "es": "Su pago ha llegado. Por seguridad debe haber alguien en casa al conectar: llame a su compañía.",
        "hi": "भुगतान मिल गया। सुरक्षा के लिए चालू करते समय घर पर कोई होना चाहिए: कृपया बिजली कंपनी को फ़ोन करें।",
    },
    "restore_load_side": {
        "en": "Your payment is here, but there is current behind the switch. Turn off any inverter or generator; we try again.",
        "es": "Su pago ha llegado, pero hay corriente tras el interruptor. Apague inversor o generador; se intentará de nuevo.",
        "hi": "भुगतान मिल गया, पर स्विच के पीछे करंट है। इन्वर्टर या जनरेटर बंद करें; फिर कोशिश होगी।",
    },
    "restore_stuck": {
        "en": "Your payment is here, but the meter did not switch on. We try again by ourselves.",
        "es": "Su pago ha llegado, pero el medidor no conectó. Se intentará de nuevo.",
        "hi": "भुगतान मिल गया, पर मीटर चालू नहीं हुआ। फिर कोशिश की जाएगी।",
    },
    "order": {
        "en": "Switched off on {d} by your utility, not because of your balance. Please call them.",
        "es": "Cortado el {d} por su compañía, no por el saldo. Por favor, llámela.",
        "hi": "{d} को बिजली कंपनी ने बंद की, बैलेंस के कारण नहीं। कृपया उनसे संपर्क करें।",
    },
    "unordered": {
        "en": "The switch in the meter was found open on {d}, and nobody here ordered it. Please call your utility.",
        "es": "El {d} el interruptor del medidor apareció abierto y nadie aquí lo ordenó. Llame a su compañía.",
        "hi": "{d} को मीटर का स्विच खुला मिला, यहाँ से किसी ने आदेश नहीं दिया। कृपया बिजली कंपनी से संपर्क करें।",
    },
    "armed": {
        "en": "Press the button on the meter to switch it on.",
        "es": "Pulse el botón del medidor para conectarlo.",
        "hi": "चालू करने के लिए मीटर का बटन दबाएँ।",
    },
    "held_protected_hours": {
        "en": "The balance is used up. The supply stays on during the protected hours ({why}).",
        "es": "El saldo se agotó. El servicio sigue durante las horas protegidas ({why}).",
        "hi": "बैलेंस समाप्त। सुरक्षित घंटों ({why}) में बिजली चालू रहेगी।",
    },
    "held_holds": {
        "en": "The balance is used up. The supply stays on: protection applies to your home.",
        "es": "El saldo se agotó. El servicio sigue: su hogar está protegido.",
        "hi": "बैलेंस समाप्त। आपके घर पर सुरक्षा लागू है, बिजली चालू रहेगी।",
    },
    "held": {
        "en": "The balance is used up. The supply stays on for now. Please top up.",
        "es": "El saldo se agotó. El servicio sigue por ahora. Recargue, por favor.",
        "hi": "बैलेंस समाप्त। अभी बिजली चालू है। कृपया रिचार्ज करें।",
    },
}


@dataclass(frozen=True, slots=True)
class Words:
    """One language, with the currency and zone of one account."""

    language: str
    currency: str = ""
    zone: ZoneInfo | None = None

    def label(self, name: str, **values: str) -> str:
        return _in(LABELS[name], self.language).format(**values)

    def reason(self, name: str, **values: str) -> str:
        return _in(REASONS[name], self.language).format(**values)

    def message(self, code: str, params: dict[str, str], text: str) -> str:
        """A stored message; an unknown code shows itself rather than nothing."""
        template = MESSAGES.get(code)
        if template is None:
            return code
        values = {name: self._value(name, value) for name, value in params.items()} | {"text": text}
        try:
            return _in(template, self.language).format(**values)
        except KeyError:
            return code

    def money(self, amount_nano: int) -> str:
        return _together(display(amount_nano, self.currency))

    def asked(self, amount_nano: int) -> str:
        """An amount to pay, rounded up to the coin: what is asked for is never too little."""
        return self.money(-floor_to_minor(-amount_nano, self.currency))

    def price(self, amount_nano: int) -> str:
        """A price to a ten-thousandth, without needless zeros."""
        whole, _, decimals = decimal_text(round_half_even(amount_nano, PRICE_DIGITS)).partition(".")
        decimals = decimals.ljust(minor_digits(self.currency), "0")
        return _together(f"{SYMBOLS.get(self.currency, self.currency)} {whole}{'.' if decimals else ''}{decimals}")

    def moment(self, at_ms: int) -> str:
        """Local date and time, the same digits in every language."""
        return datetime.fromtimestamp(at_ms // 1000, self.zone).strftime("%d.%m.%Y %H:%M")

    def span(self, ms: int) -> str:
        """The two largest units of days, hours and minutes; rounded down."""
        days, rest = divmod(ms, MS_PER_DAY)
        hours, rest = divmod(rest, MS_PER_HOUR)
        parts = ((days, "d"), (hours, "h"), (rest // 60_000, "min"))
        first = next((i for i, (count, _) in enumerate(parts) if count), 2)
        return _together(" ".join(f"{count} {unit}" for count, unit in parts[first : first + 2]))

    def _value(self, name: str, value: str) -> str:
        shown = {"a": self.asked, "b": self.money, "t": self.span, "d": self.moment}.get(name)
        return shown(int(value)) if shown and value.lstrip("-").isdigit() else value


def language_of(*wishes: str) -> str:
    """The first of the wishes we have words for."""
    return next((w for w in wishes if w in LANGUAGES), FALLBACK)


def accepted(header: str) -> str:
    """The first language of an Accept-Language header that we have."""
    return language_of(*(part.split(";")[0].strip()[:2].lower() for part in header[:200].split(",")))


def _together(text: str) -> str:
    """A figure and its unit are not parted at the end of a line."""
    return text.replace(" ", "\u00a0")


def _in(texts: dict[str, str], language: str) -> str:
    return texts.get(language, texts[FALLBACK])
